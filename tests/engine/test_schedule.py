"""The schedule: a test of each rule, then all of them together in any order (see `simulation`)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from weightwright.engine.blocks import BlockPool, chain
from weightwright.engine.schedule import Batch, Schedule
from weightwright.engine.sequence import Sequence, Status, Work
from weightwright.errors import RequestError, SettingsError

from .simulation import VOCABULARY, Simulation


def opened(
    blocks: int = 64, block_tokens: int = 4, sequences: int = 8, tokens: int = 64
) -> tuple[Schedule, BlockPool]:
    pool = BlockPool(blocks, block_tokens)
    return Schedule(pool, sequences, tokens), pool


def added(schedule: Schedule, ids: list[int] | range, max_tokens: int = 4, **fields: object) -> Sequence:
    sequence = Sequence(list(ids), len(ids), max_tokens, **fields)  # type: ignore[arg-type]
    schedule.add(sequence)
    return sequence


def step(schedule: Schedule) -> dict[Sequence, Work]:
    """One step of an engine that always samples token 7 and rejects all drafts."""
    batch = schedule.next()
    assert batch is not None
    for work in batch.works:
        if work.logits:
            work.sequence.token_ids.append(7)
        schedule.commit(work, len(work.tokens) - max(work.logits - 1, 0))
    return {work.sequence: work for work in batch.works}


# -- admission and the budget ----------------------------------------------------------------------


def test_a_request_that_can_never_fit_is_refused_with_its_numbers() -> None:
    schedule, _ = opened(blocks=4, block_tokens=4)
    with pytest.raises(
        RequestError, match=r"12 prompt tokens and up to 5 new ones need 5 blocks.* has 4; shor"
    ):
        added(schedule, range(12), max_tokens=5)
    added(schedule, range(12), max_tokens=4)
    assert schedule.waiting == 1


def test_an_empty_prompt_and_a_second_add_are_refused() -> None:
    schedule, _ = opened()
    with pytest.raises(RequestError, match="0 tokens"):
        added(schedule, [])
    sequence = added(schedule, [1])
    with pytest.raises(RequestError, match="waiting sequence cannot be added again"):
        schedule.add(sequence)


@pytest.mark.parametrize(("sequences", "tokens", "says"), [(9, 8, "step_tokens to 9"), (0, 8, "at least 1")])
def test_limits_under_which_nothing_could_run_are_refused(sequences: int, tokens: int, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Schedule(BlockPool(4, 4), sequences, tokens)


def test_a_long_prompt_is_read_in_chunks_and_only_its_end_asks_for_logits() -> None:
    schedule, _ = opened(tokens=10)
    sequence = added(schedule, range(23))
    works = [step(schedule)[sequence] for _ in range(4)]
    assert [(w.start, len(w.tokens), w.logits) for w in works] == [
        (0, 10, 0),
        (10, 10, 0),
        (20, 3, 1),
        (23, 1, 1),
    ]
    assert [t for w in works for t in w.tokens] == [*range(23), 7]
    assert sequence.computed == len(sequence.token_ids) - 1


def test_those_that_decode_come_before_chunks_of_prompts() -> None:
    schedule, _ = opened(tokens=8)
    short = added(schedule, [1, 2])
    step(schedule)
    first = added(schedule, range(20), priority=-1)
    works = step(schedule)
    assert [(s, len(w.tokens)) for s, w in works.items()] == [(short, 1), (first, 7)]


def test_sequences_are_admitted_by_priority_then_arrival_up_to_the_limit() -> None:
    schedule, _ = opened(sequences=2)
    late, early = added(schedule, [1]), added(schedule, [2], priority=-1)
    last = added(schedule, [3])
    assert list(step(schedule)) == [early, late]
    assert (schedule.running, schedule.waiting) == (2, 1)
    schedule.finish(early)
    assert list(step(schedule)) == [late, last]


def test_one_that_lacks_blocks_holds_up_smaller_ones_behind_it() -> None:
    schedule, _ = opened(blocks=4, block_tokens=4)
    running = added(schedule, range(8))
    step(schedule)
    big, small = added(schedule, range(50, 58), max_tokens=8), added(schedule, [1], max_tokens=1)
    assert list(step(schedule)) == [running]
    schedule.finish(running)
    assert list(step(schedule)) == [big, small]


def test_admission_leaves_the_running_a_block_each_to_grow_and_never_preempts() -> None:
    schedule, pool = opened(blocks=3, block_tokens=4)
    running = added(schedule, range(6), max_tokens=6)
    step(schedule)
    urgent = added(schedule, [1, 2], priority=-9)
    assert pool.free_blocks == 1
    assert list(step(schedule)) == [running]
    schedule.finish(running)
    assert list(step(schedule)) == [urgent]
    assert schedule.preemptions == 0


def test_nothing_to_run_gives_no_batch() -> None:
    schedule, _ = opened()
    assert schedule.next() is None
    sequence = added(schedule, [1, 2])
    batch = schedule.next()
    assert batch is not None
    schedule.commit(batch.works[0])
    assert schedule.next() is None  # the engine has not appended a token
    sequence.token_ids.append(7)
    assert schedule.next() is not None


# -- shared prefixes -------------------------------------------------------------------------------


def test_a_prefix_is_found_in_full_blocks_short_of_the_last_token() -> None:
    schedule, _ = opened(block_tokens=4)
    schedule_first = added(schedule, range(12))
    step(schedule)
    schedule.finish(schedule_first)  # freed blocks are found as well
    same, longer = added(schedule, range(12)), added(schedule, [*range(10), 99, 98])
    works = step(schedule)
    assert [(works[s].start, s.cached_tokens) for s in (same, longer)] == [(8, 8), (8, 8)]
    assert same.blocks[:2] == longer.blocks[:2]
    assert (schedule.prefix_query_tokens, schedule.prefix_hit_tokens) == (36, 16)


def test_outputs_are_found_like_prompts() -> None:
    schedule, _ = opened(block_tokens=2)
    first = added(schedule, [1, 2, 3], max_tokens=6)
    for _ in range(4):
        step(schedule)
    again = added(schedule, first.token_ids)
    assert step(schedule)[again].start == 6


def test_two_adapters_share_nothing() -> None:
    schedule, _ = opened(block_tokens=4)
    added(schedule, range(12), salt=b"one")
    step(schedule)
    other = added(schedule, range(12), salt=b"two")
    assert step(schedule)[other].start == 0


def test_a_prompt_whose_logits_are_wanted_is_computed_whole_once() -> None:
    schedule, _ = opened(blocks=8, block_tokens=4)
    added(schedule, range(12), priority=-1, max_tokens=8)
    step(schedule)
    whole = added(schedule, range(12), share_prefix=False)
    assert step(schedule)[whole].start == 0
    schedule._preempt(whole)
    assert step(schedule)[whole].start == 12  # recomputed from what is still cached


def test_logits_are_asked_for_and_nothing_is_shared_from_the_position_wanted() -> None:
    schedule, _ = opened(block_tokens=2, sequences=4, tokens=4)
    first, logits = added(schedule, range(10), logits_from=3), []
    while batch := schedule.next():
        logits.append(batch.works[0].logits)
        schedule.commit(batch.works[0])
    assert logits == [1, 4, 2]
    assert first.computed == 10
    again = added(schedule, range(10), logits_from=5)
    work = step(schedule)[again]
    assert (work.start, work.tokens, work.logits) == (4, (4, 5, 6, 7), 3)


def test_of_two_with_one_prefix_that_arrive_together_only_one_computes_it() -> None:
    schedule, _ = opened(block_tokens=4)
    first, second = added(schedule, [*range(12), 50]), added(schedule, [*range(12), 60])
    other = added(schedule, range(100, 112))
    assert list(step(schedule)) == [first, other]
    works = step(schedule)
    assert (works[second].start, works[second].tokens) == (12, (60,))


def test_those_that_pass_leave_the_blocks_which_the_passed_one_has_found() -> None:
    schedule, pool = opened(blocks=8, block_tokens=2)
    old = added(schedule, range(4), max_tokens=1)
    step(schedule)
    schedule.finish(old)
    whole = added(schedule, range(6), max_tokens=2, share_prefix=False)
    passed = added(schedule, range(7), max_tokens=2)
    passing = added(
        schedule, range(50, 58), max_tokens=2
    )  # of the 5 free blocks it would take one of the 2 found
    assert list(step(schedule)) == [whole]
    assert step(schedule)[passed].start == 6
    for sequence in (whole, passed, passing):
        schedule.finish(sequence)
    assert pool.free_blocks == 8


@pytest.mark.parametrize(("twins", "passes"), [(2, True), (3, False)])
def test_no_more_than_max_sequences_are_passed_in_a_step(twins: int, passes: bool) -> None:
    schedule, _ = opened(block_tokens=4, sequences=2)
    first, *_ = [added(schedule, range(12)) for _ in range(1 + twins)]
    other = added(schedule, range(100, 112))
    assert list(step(schedule)) == ([first, other] if passes else [first])


@pytest.mark.parametrize("when", ["in the step", "after it"])
def test_the_second_computes_the_prefix_itself_if_the_first_is_cancelled(when: str) -> None:
    schedule, _ = opened(block_tokens=4, tokens=8)
    first, second = added(schedule, range(12)), added(schedule, range(12))
    batch = schedule.next()
    assert batch is not None
    if when == "in the step":
        schedule.finish(first)
    schedule.commit(batch.works[0])
    schedule.finish(first)
    assert step(schedule)[second].start == (0 if when == "in the step" else 8)


# -- preemption ------------------------------------------------------------------------------------


def test_the_last_in_rank_gives_way_and_comes_back_with_its_arrival() -> None:
    schedule, pool = opened(blocks=4, block_tokens=4)
    first, last = added(schedule, range(7), max_tokens=9), added(schedule, range(50, 54), max_tokens=4)
    step(schedule)
    assert step(schedule) == {first: first and step_work(first, 7), last: step_work(last, 4)}
    assert list(step(schedule)) == [first]
    assert (last.status, last.blocks, last.computed, schedule.preemptions) == (Status.WAITING, [], 0, 1)
    late = added(schedule, [1])
    schedule.finish(first)
    works = step(schedule)
    assert list(works) == [last, late]
    assert works[last].tokens == tuple(last.token_ids[works[last].start : -1])
    assert pool.free_blocks == 4 - len(last.blocks) - len(late.blocks)


def step_work(sequence: Sequence, start: int) -> Work:
    return Work(sequence, start, (7,), 1)


def test_one_that_is_itself_the_last_gives_way() -> None:
    schedule, _ = opened(blocks=4, block_tokens=4)
    last = added(schedule, range(50, 54), max_tokens=8)
    added(schedule, range(7), max_tokens=1, priority=-1)
    step(schedule)
    schedule._pool.allocate()
    assert last not in step(schedule)
    assert last.status is Status.WAITING


def test_a_beam_that_waits_for_a_sibling_without_blocks_lends_it_its_own() -> None:
    schedule, pool = opened(blocks=3, block_tokens=2, sequences=1)
    beam = added(schedule, [1, 2], max_tokens=4)
    batch = schedule.next()
    assert batch is not None
    schedule.commit(batch.works[0])
    sibling = schedule.fork(beam)
    beam.token_ids += [3]
    sibling.token_ids += [4]
    for token in (5, 6, 7):
        waits = {beam, sibling}
        while waits:
            batch = schedule.next()
            assert batch is not None
            for work in batch.works:
                schedule.commit(work)
                if work.logits:
                    waits.remove(work.sequence)  # raises if logits of a position came twice
        beam.token_ids += [token]
        sibling.token_ids += [token]
    assert schedule.preemptions > 0
    schedule.finish(beam)
    schedule.finish(sibling)
    assert pool.free_blocks == 3


# -- drafts ----------------------------------------------------------------------------------------


def test_drafts_share_what_the_others_leave_of_the_budget() -> None:
    schedule, _ = opened(sequences=4, tokens=8)
    one, two = added(schedule, [1]), added(schedule, [2])
    step(schedule)
    one.draft = two.draft = (5, 5, 5, 5)
    works = step(schedule)
    assert [(works[s].tokens, works[s].logits) for s in (one, two)] == [((7, 5, 5, 5, 5), 5), ((7, 5, 5), 3)]
    assert one.computed == len(one.token_ids) - 1 == 2
    assert one.draft == ()
    one.draft = two.draft = (5, 5, 5, 5)
    prompt = added(schedule, range(20))
    assert [len(w.tokens) for w in step(schedule).values()] == [4, 1, 3]
    assert prompt.computed == 3


def test_drafts_take_free_blocks_but_nobody_elses() -> None:
    schedule, pool = opened(blocks=4, block_tokens=2)
    one, two = added(schedule, [1], max_tokens=6), added(schedule, [2], max_tokens=6)
    step(schedule)
    one.draft = two.draft = (5, 5, 5, 5)
    works = step(schedule)
    assert [len(works[s].tokens) for s in (one, two)] == [5, 1]
    assert (pool.free_blocks, schedule.preemptions) == (0, 0)


def test_a_rejected_draft_leaves_no_sealed_block_behind() -> None:
    schedule, pool = opened(block_tokens=2)
    sequence = added(schedule, [1, 2], max_tokens=8)
    step(schedule)
    sequence.draft = (8, 9, 9)
    batch = schedule.next()
    assert batch is not None
    assert batch.works[0].tokens == (7, 8, 9, 9)
    sequence.token_ids += [8, 5]  # 8 was right, the next token is 5
    schedule.commit(batch.works[0], 2)
    assert (sequence.computed, sequence.sealed) == (4, 2)
    digests = [chain(b"", [1, 2])]
    for tokens in ([7, 8], [9, 9]):
        digests.append(chain(digests[-1], tokens))
    assert [pool.find(d) for d in digests] == [*sequence.blocks[:2], None]
    batch = schedule.next()
    assert batch is not None
    assert (batch.works[0].start, batch.works[0].tokens) == (4, (5,))


def test_only_draft_tokens_can_be_rejected() -> None:
    schedule, _ = opened()
    added(schedule, [1, 2, 3])
    batch = schedule.next()
    assert batch is not None
    with pytest.raises(AssertionError, match="only draft tokens"):
        schedule.commit(batch.works[0], 2)


# -- forks and endings -----------------------------------------------------------------------------


def test_a_fork_shares_all_blocks_and_copies_the_partial_one_when_it_writes() -> None:
    schedule, pool = opened(block_tokens=4, sequences=1)
    parent = added(schedule, range(6))
    step(schedule)
    twin = schedule.fork(parent)
    assert twin.blocks == parent.blocks
    assert schedule.running == 2  # above max_sequences
    full, partial = parent.blocks
    batch = schedule.next()
    assert batch is not None
    assert batch.copies == ((partial, parent.blocks[1]),)
    assert (parent.blocks[0], twin.blocks) == (full, [full, partial])
    assert (pool.references(full), pool.references(partial)) == (2, 1)


def test_the_last_holder_writes_without_a_copy() -> None:
    schedule, _ = opened(block_tokens=4)
    parent = added(schedule, range(6))
    step(schedule)
    schedule.finish(schedule.fork(parent))
    batch = schedule.next()
    assert batch is not None
    assert batch.copies == ()


def test_only_what_is_waiting_or_running_can_be_forked() -> None:
    schedule, _ = opened()
    sequence = added(schedule, [1, 2])
    assert schedule.fork(sequence).status is Status.WAITING
    schedule.finish(sequence)
    with pytest.raises(RequestError, match="finished sequence cannot be forked"):
        schedule.fork(sequence)


@pytest.mark.parametrize("moment", ["new", "waiting", "running", "in a step", "parked"])
def test_finishing_at_any_moment_and_twice_releases_everything(moment: str) -> None:
    schedule, pool = opened()
    sequence = Sequence([1, 2], 2, 4)
    if moment != "new":
        schedule.add(sequence)
    batch = schedule.next() if moment in {"running", "in a step", "parked"} else None
    if batch and moment != "in a step":
        schedule.commit(batch.works[0])
    if moment == "parked":
        schedule._preempt(sequence)
    schedule.finish(sequence)
    if batch:
        schedule.commit(batch.works[0])
    schedule.finish(sequence)
    assert (schedule.running, schedule.waiting, schedule.next()) == (0, 0, None)
    assert (pool.free_blocks, sequence.status, sequence.blocks) == (pool.blocks, Status.FINISHED, [])


# -- any order of arrivals, steps, forks and cancellations, in a simulated engine ----------------------

LIMITS = st.tuples(st.integers(1, 10), st.integers(1, 4), st.integers(1, 5), st.integers(0, 12))
REQUEST = st.fixed_dictionaries(
    {
        "prompt": st.one_of(
            st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12),
            st.integers(1, 20).map(lambda n: [0] * n),
        ),
        "max_tokens": st.integers(1, 10),
        "salt": st.sampled_from([b"", b"adapter"]),
        "priority": st.sampled_from([0, 0, 0, -1, 1]),
        "share": st.sampled_from([True, True, False]),
        "beams": st.sampled_from([0, 0, 0, 2, 3]),
    }
)


class EngineUnderAnyUse(RuleBasedStateMachine):
    """Arrivals, cancellations, forks and steps in any order; then everything must end."""

    @initialize(limits=LIMITS, seed=st.integers(0, 2**32))
    def start(self, limits: tuple[int, int, int, int], seed: int) -> None:
        blocks, size, sequences, more = limits
        self.simulation = Simulation(blocks, size, sequences, sequences + more, seed)

    @rule(request=REQUEST)
    def add(self, request: dict) -> None:
        self.simulation.add(**request)

    @precondition(lambda self: self.simulation.groups)
    @rule(times=st.integers(1, 4), cancel=st.sampled_from([False, False, False, True]))
    def step(self, times: int, cancel: bool) -> None:
        for _ in range(times):
            if self.simulation.groups:
                self.simulation.step(cancel)

    @precondition(lambda self: self.simulation.groups)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.simulation.cancel(data.draw(st.sampled_from(self.simulation.groups)))
        self.simulation.check_pool()

    @precondition(lambda self: any(not g.beams for g in self.simulation.groups))
    @rule(data=st.data(), differ=st.booleans())
    def fork(self, data: st.DataObject, differ: bool) -> None:
        plain = [g for g in self.simulation.groups if not g.beams]
        self.simulation.fork(data.draw(st.sampled_from(plain)), differ)
        self.simulation.check_pool()

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.drain()


TestEngineUnderAnyUse = EngineUnderAnyUse.TestCase
TestEngineUnderAnyUse.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@settings(max_examples=150, deadline=None)
@given(
    limits=LIMITS.filter(lambda limits: limits[0] * limits[1] > 6),
    requests=st.lists(REQUEST, min_size=2, max_size=12),
    every=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_a_crowd_of_requests_ends_whatever_the_room(
    limits: tuple, requests: list, every: int, seed: int
) -> None:
    blocks, size, sequences, more = limits
    simulation = Simulation(blocks, size, sequences, sequences + more, seed)
    for request in requests:
        simulation.add(**request)
        for _ in range(every):
            if simulation.groups:
                simulation.step()
    simulation.drain()


def test_the_simulation_meets_what_it_is_there_for() -> None:
    """Preemption, prefixes, copies and accepted drafts all happen in a run of the simulation."""
    simulation = Simulation(blocks=9, block_tokens=2, sequences=4, tokens=8, seed=3)
    copies = accepted = 0
    schedule_next, commit = simulation.schedule.next, simulation.schedule.commit

    def next_counted() -> Batch | None:
        nonlocal copies
        batch = schedule_next()
        copies += len(batch.copies) if batch else 0
        return batch

    def commit_counted(work: Work, kept: int | None = None) -> None:
        nonlocal accepted
        accepted += kept is not None and kept > len(work.tokens) - work.logits + 1
        commit(work, kept)

    simulation.schedule.next, simulation.schedule.commit = next_counted, commit_counted  # type: ignore
    for number in range(12):
        simulation.add([number % 2, 0, 1], 8, b"", 0, True, 2 * (number % 3 == 0))
        simulation.step()
    simulation.drain()
    assert simulation.schedule.preemptions > 0
    assert simulation.schedule.prefix_hit_tokens > 0
    assert copies > 0
    assert accepted > 0
