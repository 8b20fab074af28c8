"""Which tokens the next forward pass computes: pure decisions over plain data.

The engine's loop is `batch = schedule.next(); logits = run(batch); …; schedule.commit(work, kept)`. Sequences
are served in the order of (priority, arrival); when blocks run out the last of them gives way and is computed
again later ("the paper": Kwon et al. 2023, PagedAttention, §4.5). Prompts are read in chunks beside the
sequences that decode (Agrawal et al. 2024, Sarathi-Serve). Background sequences (texts to embed or to score)
come last, and where others decode the caller says how many of their tokens a step bears.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count
from operator import attrgetter

from weightwright.engine.blocks import BlockPool, chain
from weightwright.engine.sequence import Sequence, Status, Work
from weightwright.errors import RequestError, SettingsError


@dataclass(frozen=True, slots=True)
class Batch:
    """One step. `copies` are (from, to) blocks to copy before it, in order or by one gather and scatter."""

    works: tuple[Work, ...]
    copies: tuple[tuple[int, int], ...]


_Plan = list[tuple[Sequence, int]]  # with how many of its token_ids each computes
_rank = attrgetter("rank")
_KEPT_FOR_BACKGROUND = (
    8  # one of so many tokens goes to background sequences, even while prompts would take all
)


class Schedule:
    """Chooses under `step_tokens` tokens a step and about `max_sequences` sequences at a time, background ones apart.

    `fork` may exceed max_sequences; then nobody new is admitted. SettingsError if max_sequences is below 1 or
    above step_tokens: each running sequence must be able to compute a token in each step. `stateful` models keep
    beside the blocks what cannot be cut: no sequence finds the beginning of another, and drafts are left out.
    """

    def __init__(
        self, pool: BlockPool, max_sequences: int, step_tokens: int, *, stateful: bool = False
    ) -> None:
        if max_sequences < 1:
            raise SettingsError(f"max_sequences must be at least 1, got {max_sequences}")
        if max_sequences > step_tokens:
            raise SettingsError(
                f"max_sequences={max_sequences} is above step_tokens={step_tokens}, but each sequence "
                f"computes at least one token a step; set step_tokens to {max_sequences} or more"
            )
        self._stateful = stateful
        self.preemptions = 0
        self.prefix_query_tokens = 0  # tokens of admitted sequences
        self.prefix_hit_tokens = 0  # those of them that were found in the cache
        self._pool = pool
        self._block_tokens = pool.block_tokens
        self._max_sequences = max_sequences
        self._step_tokens = step_tokens
        self._numbers = count()
        self._waiting: list[Sequence] = []  # all three by rank
        self._background: list[Sequence] = []  # waiting, too
        self._running: list[Sequence] = []
        self._parked: dict[Sequence, int] = {}  # preempted with nothing to compute: length when they were

    @property
    def running(self) -> int:
        """Sequences that hold blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that were added or preempted and are not running."""
        return len(self._waiting) + len(self._background) + len(self._parked)

    @property
    def decoding(self) -> int:
        """Sequences of which the next step computes one token, if it is left to them."""
        return sum(s.computed == len(s.token_ids) - 1 and not s.background for s in self._running)

    # -- sequences come, branch and go -------------------------------------------------------------

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence; RequestError if it is empty or could not finish even with all blocks."""
        if not sequence.token_ids:
            raise RequestError("a prompt of 0 tokens cannot be continued; give at least 1 token")
        tokens = max(sequence.prompt_tokens + sequence.max_tokens, len(sequence.token_ids))
        if self._blocks_for(tokens) > self._pool.blocks:
            raise RequestError(
                f"{sequence.prompt_tokens} prompt tokens and up to {sequence.max_tokens} new ones need "
                f"{self._blocks_for(tokens)} blocks of {self._block_tokens} tokens, but the KV cache has "
                f"{self._pool.blocks}; shorten the prompt, lower max_tokens or give the KV cache more memory"
            )
        if sequence.status is not Status.NEW:
            raise RequestError(f"a {sequence.status.value} sequence cannot be added again; make a new one")
        if self._stateful:
            sequence.share_prefix = sequence.keep = False
        sequence.arrival = next(self._numbers)
        sequence.rank = (sequence.background, sequence.priority, sequence.arrival, sequence.arrival)
        self._queue(sequence)

    def fork(self, sequence: Sequence) -> Sequence:
        """A twin that shares all blocks, the last partial one included (§4.4 of the paper); it has no draft.

        Call it between commit() and next(), before the engine appends the token in which they differ. A twin
        of a running sequence runs at once, even above max_sequences; it ranks behind and can be preempted
        like any other. RequestError if the sequence was never added or is finished.
        """
        if sequence.status not in {Status.WAITING, Status.RUNNING}:
            raise RequestError(f"a {sequence.status.value} sequence cannot be forked; fork it while it runs")
        twin = replace(
            sequence,
            token_ids=list(sequence.token_ids),
            draft=(),
            state=deepcopy(sequence.state),
            rank=(*sequence.rank[:3], next(self._numbers)),
            blocks=sequence.blocks[: self._blocks_for(sequence.computed)],  # not those without tokens
            digests=list(sequence.digests),
        )
        for block in twin.blocks:
            self._pool.share(block)
        if sequence in self._parked:
            self._parked[twin] = self._parked[sequence]
        else:
            insort(self._running if twin.status is Status.RUNNING else self._queue_of(twin), twin, key=_rank)
        return twin

    def finish(self, sequence: Sequence) -> None:
        """Forget a sequence, done or cancelled, and release what it holds; at any moment, also twice."""
        if sequence.status is Status.RUNNING:
            self._remove(self._running, sequence)
        elif sequence.status is Status.WAITING and self._parked.pop(sequence, None) is None:
            self._remove(self._queue_of(sequence), sequence)
        self._release(sequence)
        sequence.status = Status.FINISHED

    # -- a step ------------------------------------------------------------------------------------

    def next(self, background_tokens: int | None = None) -> Batch | None:
        """The next step's work, or None if there is nothing to compute.

        The tokens of the step go to sequences that decode, then their drafts, then running prompts, then new
        sequences, then background ones, of which `background_tokens` are the most where others decode. Drafts are
        cut where tokens or blocks are short.
        """
        self._return_parked()
        copies = self._grow()
        due = [(s, len(s.token_ids) - s.computed) for s in self._running]
        plan = [(s, tokens) for s, tokens in due if tokens == 1 and not s.background][: self._step_tokens]
        prompts = [(s, tokens) for s, tokens in due if tokens > 1 and not s.background]
        behind = [(s, tokens) for s, tokens in due if tokens and s.background]
        most = self._step_tokens if background_tokens is None or not plan else background_tokens
        budget = self._step_tokens - len(plan)
        drafts = self._reserve_drafts(plan, budget, bool(prompts))
        budget -= drafts
        kept = min(most, budget // _KEPT_FOR_BACKGROUND) if behind or self._background else 0
        budget = self._admit(self._waiting, plan, self._read(prompts, plan, budget - kept)) + kept
        left = self._read(behind, plan, min(most, budget))
        budget -= min(most, budget) - self._admit(self._background, plan, left)
        while not plan and (
            self._waiting or self._background
        ):  # all that run wait for one that waits for their blocks
            self._preempt(self._running[-1])
            budget = self._admit(self._background, plan, self._admit(self._waiting, plan, budget))
        return Batch(tuple(self._works(plan, budget + drafts)), tuple(copies)) if plan else None

    def commit(self, work: Work, kept: int | None = None) -> None:
        """A step is done: the first `kept` of work.tokens stand (all, unless draft tokens were rejected).

        The engine appends the tokens it accepted and sampled before it calls this, so that blocks that became
        full are registered at once. Work of a sequence that has been finished is ignored.
        """
        sequence = work.sequence
        if sequence.status is not Status.RUNNING:
            return
        kept = len(work.tokens) if kept is None else kept
        assert 0 <= len(work.tokens) - kept <= max(work.logits - 1, 0), "only draft tokens can be rejected"
        sequence.computed = work.start + kept
        sequence.draft = ()
        if not sequence.keep:
            return
        full = min(sequence.computed, len(sequence.token_ids)) // self._block_tokens
        while sequence.sealed < full:
            self._pool.seal(sequence.blocks[sequence.sealed], self._digest(sequence, sequence.sealed))
            sequence.sealed += 1

    # -- what next() calls, in its order -----------------------------------------------------------

    def _return_parked(self) -> None:
        """Queue those whose engine has appended a token meanwhile."""
        for sequence, length in list(self._parked.items()):
            if len(sequence.token_ids) > length:
                del self._parked[sequence]
                self._queue(sequence)

    def _grow(self) -> list[tuple[int, int]]:
        """Blocks for all token_ids of those that run, first ranks first; returns the copies to make.

        All of this comes before any work is planned, so whoever is preempted here has no work in the batch.
        """
        copies: list[tuple[int, int]] = []
        size = self._block_tokens
        place = 0
        while place < len(self._running):  # its end moves when sequences are preempted
            sequence = self._running[place]
            place += 1
            length = len(sequence.token_ids)
            if length > sequence.computed and (
                len(sequence.blocks) * size < length or self._writes_shared(sequence)
            ):
                self._grow_one(sequence, copies)
        return copies

    def _grow_one(self, sequence: Sequence, copies: list[tuple[int, int]]) -> None:
        while self._missing(sequence) > self._pool.free_blocks:
            victim = self._running[-1]
            self._preempt(victim)
            if victim is sequence:
                return
        if self._writes_shared(sequence):  # copy on write, §4.4 of the paper
            place = sequence.computed // self._block_tokens
            source, sequence.blocks[place] = sequence.blocks[place], self._allocate()
            self._pool.release(source)
            copies.append((source, sequence.blocks[place]))
        while len(sequence.blocks) < self._blocks_for(len(sequence.token_ids)):
            sequence.blocks.append(self._allocate())

    def _reserve_drafts(self, plan: _Plan, budget: int, prompts: bool) -> int:
        """Tokens kept back for drafts of those that decode: at most half the budget while prompts need it."""
        wanted = 0 if self._stateful else sum(len(sequence.draft) for sequence, _ in plan)
        if prompts or (self._waiting and len(self._running) < self._max_sequences):
            budget //= 2
        return min(wanted, budget)

    def _read(self, running: _Plan, plan: _Plan, budget: int) -> int:
        """Add the next tokens of running prompts to the plan; returns what is left of the budget."""
        for sequence, tokens in running:
            if not budget:
                break
            plan.append((sequence, min(tokens, budget)))
            budget -= plan[-1][1]
        return budget

    def _admit(self, waiting: list[Sequence], plan: _Plan, budget: int) -> int:
        """Add waiting sequences to the plan, first ranks first; returns what is left of the budget.

        One that lacks blocks holds up those behind. One that would compute a block which this very step
        computes for another is passed (max_sequences of them at most): in the next step it finds the block.
        """
        place = 0
        kept: list[int] = []  # free blocks found by those that are passed: not for those that pass
        pending: set[bytes] | None = None
        while budget and place < min(len(waiting), self._max_sequences + 1):
            if plan and self._is_full(waiting[place]):
                break
            if pending is None:
                pending = {digest for entry in plan for digest in self._filled(*entry)}
            sequence = waiting[place]
            cached, soon_more = self._find(sequence, pending)
            if soon_more:
                for block in cached:
                    if not self._pool.references(block):
                        self._pool.share(block)
                        kept.append(block)
                place += 1
                continue
            if not self._place(sequence, cached, reserve=len(plan)):
                break
            del waiting[place]
            tokens = min(len(sequence.token_ids) - sequence.computed, budget)
            plan.append((sequence, tokens))
            pending.update(self._filled(sequence, tokens))
            budget -= tokens
        for block in reversed(kept):
            self._pool.release(block)
        return budget

    def _is_full(self, sequence: Sequence) -> bool:
        """Whether this one must wait. Background sequences do not count, and yield to foreground ones that wait."""
        foreground = bisect_left(self._running, (True,), key=_rank)
        if sequence.background:
            return (
                foreground < len(self._running) and foreground < self._max_sequences and bool(self._waiting)
            )
        return foreground >= self._max_sequences

    def _filled(self, sequence: Sequence, tokens: int) -> Iterator[bytes]:
        """Digests of the blocks that become full with the next `tokens` of token_ids."""
        size = self._block_tokens
        for place in range(sequence.computed // size, (sequence.computed + tokens) // size):
            yield self._digest(sequence, place)

    def _find(self, sequence: Sequence, pending: set[bytes]) -> tuple[list[int], bool]:
        """Cached blocks of its beginning, short of the last token, and whether the next one is pending."""
        cached: list[int] = []
        if self._stateful or (
            not sequence.share_prefix and len(sequence.token_ids) <= sequence.prompt_tokens
        ):
            return cached, False
        last = len(sequence.token_ids) - 1
        for place in range(min(last, sequence.first_wanted) // self._block_tokens):
            digest = self._digest(sequence, place)
            block = self._pool.find(digest)
            if block is None:
                return cached, digest in pending
            cached.append(block)
        return cached, False

    def _place(self, sequence: Sequence, cached: list[int], reserve: int) -> bool:
        """Let it run on the cached blocks and new ones for all its tokens, if `reserve` blocks stay free.

        The reserve lets each sequence of the step grow, else the new one would soon be preempted again.
        """
        new = self._blocks_for(len(sequence.token_ids)) - len(cached)
        free = self._pool.free_blocks - sum(not self._pool.references(block) for block in cached)
        if new + reserve > free:
            return False
        for block in cached:
            self._pool.share(block)
        sequence.blocks = cached + [self._allocate() for _ in range(new)]
        sequence.sealed = len(cached)
        sequence.computed = sequence.sealed * self._block_tokens
        if not sequence.admissions:
            sequence.cached_tokens = sequence.computed
            self.prefix_query_tokens += len(sequence.token_ids)
            self.prefix_hit_tokens += sequence.computed
        sequence.admissions += 1
        sequence.status = Status.RUNNING
        insort(self._running, sequence, key=_rank)
        return True

    def _works(self, plan: _Plan, budget: int) -> Iterator[Work]:
        """The plan as Work, with drafts of at most `budget` tokens as far as blocks are free."""
        for sequence, tokens in plan:
            start, ids = sequence.computed, sequence.token_ids
            stop = start + tokens
            draft = self._fit_draft(sequence, budget) if sequence.draft and stop == len(ids) else ()
            budget -= len(draft)
            wanted = max(0, stop - max(start, sequence.first_wanted)) + len(draft)
            logits, states = (wanted, 0) if sequence.states_from is None else (0, wanted)
            yield Work(sequence, start, (*ids[start:stop], *draft), logits, states)

    def _fit_draft(self, sequence: Sequence, budget: int) -> tuple[int, ...]:
        wanted = 0 if self._stateful else min(len(sequence.draft), budget)
        blocks = self._blocks_for(len(sequence.token_ids) + wanted) - len(sequence.blocks)
        for _ in range(min(blocks, self._pool.free_blocks)):
            sequence.blocks.append(self._allocate())
        free_tokens = len(sequence.blocks) * self._block_tokens - len(sequence.token_ids)
        return sequence.draft[: min(wanted, free_tokens)]

    # -- blocks and queues -------------------------------------------------------------------------

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self._block_tokens)

    def _writes_shared(self, sequence: Sequence) -> bool:
        """Whether the block in which its next token belongs holds tokens of others too."""
        place = sequence.computed // self._block_tokens
        return place < len(sequence.blocks) and self._pool.references(sequence.blocks[place]) > 1

    def _missing(self, sequence: Sequence) -> int:
        missing = max(self._blocks_for(len(sequence.token_ids)) - len(sequence.blocks), 0)
        return missing + self._writes_shared(sequence)

    def _allocate(self) -> int:
        block = self._pool.allocate()
        assert block is not None, "free blocks are counted before they are taken"
        return block

    def _digest(self, sequence: Sequence, place: int) -> bytes:
        """Digest of its full block number `place`; each is worked out once."""
        digests, size = sequence.digests, self._block_tokens
        while len(digests) <= place:
            start = len(digests) * size
            previous = digests[-1] if digests else sequence.salt
            digests.append(chain(previous, sequence.token_ids[start : start + size]))
        return digests[place]

    def _preempt(self, sequence: Sequence) -> None:
        """Free all blocks of a sequence and queue it again, to be recomputed (§4.5 of the paper)."""
        self._remove(self._running, sequence)
        self.preemptions += 1
        idle = sequence.computed == len(sequence.token_ids)
        self._release(sequence)
        if idle:  # its logits were given already: nothing to compute until the engine appends a token
            sequence.status = Status.WAITING
            self._parked[sequence] = len(sequence.token_ids)
        else:
            self._queue(sequence)

    def _release(self, sequence: Sequence) -> None:
        for block in reversed(sequence.blocks):  # the end is reused first: beginnings serve others too
            self._pool.release(block)
        sequence.blocks, sequence.state = [], None
        sequence.computed = sequence.sealed = 0

    def _queue(self, sequence: Sequence) -> None:
        sequence.status = Status.WAITING
        insort(self._queue_of(sequence), sequence, key=_rank)

    def _queue_of(self, sequence: Sequence) -> list[Sequence]:
        return self._background if sequence.background else self._waiting

    @staticmethod
    def _remove(queue: list[Sequence], sequence: Sequence) -> None:
        place = bisect_left(queue, sequence.rank, key=_rank)
        assert queue[place] is sequence
        del queue[place]
