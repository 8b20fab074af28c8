"""A simulated engine over the schedule, whose cache cells are numbers that depend on all tokens before them.

So it knows what each cell must hold, and checks every step of the schedule against that.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from weightwright.engine.blocks import BlockPool, chain
from weightwright.engine.schedule import Batch, Schedule
from weightwright.engine.sequence import Sequence, Status, Work
from weightwright.errors import RequestError

VOCABULARY = 3  # few tokens: prefixes coincide and guesses are right now and then


def cells(salt: bytes, tokens: list[int] | tuple[int, ...]) -> list[int]:
    """What the cache must hold at each position: it depends on the weights and on all tokens so far."""
    held = []
    cell = int.from_bytes(salt, "big") + 1
    for token in tokens:
        cell = hash((cell, token))
        held.append(cell)
    return held


def greedy(cell: int) -> int:
    return (cell >> 9) % VOCABULARY


def continuation(salt: bytes, tokens: list[int], count: int) -> list[int]:
    """The next tokens, without a schedule."""
    made = list(tokens)
    for _ in range(count):
        made.append(greedy(cells(salt, made)[-1]))
    return made[len(tokens) :]


@dataclass(eq=False)
class Group:
    """One request: a sequence, or beams that go on only when all of them have their logits."""

    live: list[Sequence]
    beams: int = 0
    ready: dict[Sequence, int] = field(default_factory=dict)  # beams with logits: their best next token


class Simulation:
    """An engine whose cache cells are numbers; every step is checked."""

    def __init__(self, blocks: int, block_tokens: int, sequences: int, tokens: int, seed: int) -> None:
        self.pool = BlockPool(blocks, block_tokens)
        self.schedule = Schedule(self.pool, sequences, tokens)
        self.limits = (sequences, tokens)
        self.random = Random(seed)
        self.cache = [[0] * block_tokens for _ in range(blocks)]
        self.groups: list[Group] = []
        self.expected: dict[Sequence, list[int]] = {}  # whole token_ids at the end, of greedy ones
        self.forked = False
        self.seen: dict[bytes, list[int]] = {}  # digest -> cells of its block, of all tokens ever given out

    # what users do

    def add(
        self, prompt: list[int], max_tokens: int, salt: bytes, priority: int, share: bool, beams: int
    ) -> None:
        sequence = Sequence(list(prompt), len(prompt), max_tokens, priority, salt, share)
        size, room = self.pool.block_tokens, self.pool.blocks
        if -(-(len(prompt) + max_tokens) // size) > room:
            with pytest.raises(RequestError):
                self.schedule.add(sequence)
            return
        self.schedule.add(sequence)
        self.groups.append(Group([sequence], beams))
        if not beams:
            self.expected[sequence] = prompt + continuation(salt, prompt, max_tokens)

    def cancel(self, group: Group) -> None:
        for sequence in group.live:
            self.schedule.finish(sequence)
        self.groups.remove(group)

    def fork(self, group: Group, differ: bool) -> None:
        """Another completion of a greedy request; with another last token if it has one of its own."""
        parent = group.live[0]
        twin = self.schedule.fork(parent)
        if differ and len(twin.token_ids) > max(twin.prompt_tokens, twin.computed):
            twin.token_ids[-1] = (twin.token_ids[-1] + 1) % VOCABULARY
        left = twin.prompt_tokens + twin.max_tokens - len(twin.token_ids)
        self.expected[twin] = twin.token_ids + continuation(twin.salt, twin.token_ids, left)
        self.groups.append(Group([twin]))
        self.forked = True

    # a step

    def sequences(self) -> Iterator[Sequence]:
        for group in self.groups:
            yield from group.live

    def step(self, cancel: bool = False) -> bool:
        """False if nothing could run."""
        self.guess()
        before = {s: s.status for s in self.sequences()}
        batch = self.schedule.next()
        if batch is None:
            assert not self.groups, "all requests must end"
            return False
        self.check_choice(batch, before)
        tables = {work.sequence: list(work.sequence.blocks) for work in batch.works}
        self.check_writes(batch, tables)
        if cancel:
            self.cancel(self.random.choice(self.groups))
        self.forward(batch, tables)
        self.check_contents(batch, tables)
        for work in batch.works:
            if work.sequence.status is Status.RUNNING:
                self.answer(work, tables[work.sequence])
        self.check_pool()
        return True

    def guess(self) -> None:
        """Drafts: the true continuation with errors."""
        for sequence in self.sequences():
            if sequence in self.expected and self.random.random() < 0.5:
                end = len(sequence.token_ids)
                true = self.expected[sequence][end : end + self.random.randint(0, 5)]
                sequence.draft = tuple(t if self.random.random() < 0.7 else 0 for t in true)

    def forward(self, batch: Batch, tables: dict[Sequence, list[int]]) -> None:
        if self.random.random() < 0.5:
            for source, target in batch.copies:
                self.cache[target] = list(self.cache[source])
        else:
            read = [list(self.cache[source]) for source, _ in batch.copies]
            for (_, target), held in zip(batch.copies, read, strict=True):
                self.cache[target] = held
        size = self.pool.block_tokens
        for work in batch.works:
            before = list(work.sequence.token_ids[: work.start])
            held = cells(work.sequence.salt, [*before, *work.tokens])
            for position in range(work.start, len(held)):
                self.cache[tables[work.sequence][position // size]][position % size] = held[position]

    def answer(self, work: Work, table: list[int]) -> None:
        """Sample from the cells of the last positions, append and commit."""
        sequence = work.sequence
        if not work.logits:
            self.schedule.commit(work)
            return
        group = next(g for g in self.groups if sequence in g.live)
        size, first = self.pool.block_tokens, work.start + len(work.tokens) - work.logits
        row = [first + i for i in range(work.logits)]
        best = [greedy(self.cache[table[p // size]][p % size]) for p in row]
        if group.beams:
            assert sequence not in group.ready, "logits of one position are given once"
            self.schedule.commit(work)
            group.ready[sequence] = best[0]
            if len(group.ready) == len(group.live):
                self.branch(group)
            return
        drafted = work.tokens[len(work.tokens) - work.logits + 1 :]
        left = sequence.prompt_tokens + sequence.max_tokens - len(sequence.token_ids)
        accepted = 1
        while accepted < min(left, len(best)) and drafted[accepted - 1] == best[accepted - 1]:
            accepted += 1
        sequence.token_ids += best[:accepted]
        self.schedule.commit(work, len(work.tokens) - work.logits + accepted)
        self.remember(sequence)
        if len(sequence.token_ids) == sequence.prompt_tokens + sequence.max_tokens:
            assert sequence.token_ids == self.expected[sequence], "as alone"
            self.schedule.finish(sequence)
            self.groups.remove(group)

    def branch(self, group: Group) -> None:
        """Beams go on from random ones of their number."""
        chosen = Counter(self.random.choice(group.live) for _ in range(group.beams))
        live: list[Sequence] = []
        for beam in group.live:
            twins = [self.schedule.fork(beam) for _ in range(chosen[beam] - 1)]
            self.forked = self.forked or bool(twins)
            for number, twin in enumerate([beam, *twins] if chosen[beam] else []):
                twin.token_ids.append((group.ready[beam] + number) % VOCABULARY)
                self.remember(twin)
                live.append(twin)
            if not chosen[beam]:
                self.schedule.finish(beam)
        group.live, group.ready = live, {}
        if len(live[0].token_ids) >= live[0].prompt_tokens + live[0].max_tokens:
            self.cancel(group)

    def remember(self, sequence: Sequence) -> None:
        size = self.pool.block_tokens
        held = cells(sequence.salt, sequence.token_ids)
        digest = sequence.salt
        for start in range(0, len(held) - size + 1, size):
            digest = chain(digest, sequence.token_ids[start : start + size])
            self.seen[digest] = held[start : start + size]

    # what must hold

    def check_choice(self, batch: Batch, before: dict[Sequence, Status]) -> None:
        limit, budget = self.limits
        works = {work.sequence: work for work in batch.works}
        assert len(works) == len(batch.works)
        assert sum(len(work.tokens) for work in batch.works) <= budget
        running = [s for s in self.sequences() if s.status is Status.RUNNING]
        assert self.forked or len(running) <= limit
        due = sorted((s for s in running if len(s.token_ids) > s.computed), key=lambda s: s.rank)
        decoding = [s for s in due if len(s.token_ids) - s.computed == 1 and before[s] is Status.RUNNING]
        assert all(s in works for s in decoding[:budget]), "a decode is never left out"
        assert len(decoding) >= budget or due[0] in works, "the first makes progress"
        stayed = [s for s in running if before[s] is Status.RUNNING]
        gone = [s for s in before if before[s] is Status.RUNNING and s.status is Status.WAITING]
        if stayed and gone and not any(group.beams for group in self.groups):
            assert max(s.rank for s in stayed) < min(s.rank for s in gone), "the last gives way"
        new = [s for s in running if before[s] is Status.WAITING]
        if any(work.logits > 1 for work in batch.works):
            return  # a draft may have taken a cached block since
        for passed in (s for s in before if s.status is Status.WAITING and s not in gone):
            if any(s.rank > passed.rank for s in new) and not self.idle(passed):
                assert any(self.computes_for(work, passed) for work in batch.works), "passed without a reason"

    def idle(self, sequence: Sequence) -> bool:
        return any(sequence in group.ready for group in self.groups)

    def computes_for(self, work: Work, passed: Sequence) -> bool:
        """Whether the work fills a block that the passed sequence needs and nobody has."""
        size, digest = self.pool.block_tokens, passed.salt
        for start in range(0, len(passed.token_ids) - size, size):
            digest = chain(digest, passed.token_ids[start : start + size])
            if self.pool.find(digest) is None:
                end = start + size
                same = work.sequence.token_ids[:end] == passed.token_ids[:end]
                return same and work.sequence.salt == passed.salt and end > work.start
        return False

    def check_writes(self, batch: Batch, tables: dict[Sequence, list[int]]) -> None:
        size = self.pool.block_tokens
        writers: Counter[int] = Counter()
        for work in batch.works:
            sequence, end = work.sequence, work.start + len(work.tokens)
            known = sequence.token_ids[work.start : end]
            assert work.start == sequence.computed
            assert list(work.tokens) == [*known, *sequence.draft][: len(work.tokens)]
            drafted = len(work.tokens) - len(known)
            assert work.logits == (1 + drafted if end >= len(sequence.token_ids) else 0)
            touched = {tables[sequence][position // size] for position in range(work.start, end)}
            assert all(self.pool.references(block) == 1 for block in touched), (
                "a shared block is never written"
            )
            writers.update(touched)
        assert all(writers[block] <= 1 for block in writers), "no block is written by two sequences"
        targets = Counter(target for _, target in batch.copies)
        assert all(n == 1 for n in targets.values())

    def check_contents(self, batch: Batch, tables: dict[Sequence, list[int]]) -> None:
        size = self.pool.block_tokens
        for work in batch.works:
            tokens = [*work.sequence.token_ids[: work.start], *work.tokens]
            held = [self.cache[tables[work.sequence][p // size]][p % size] for p in range(len(tokens))]
            assert held == cells(work.sequence.salt, tokens), "each attends over exactly its own tokens"

    def check_pool(self) -> None:
        holders = Counter(block for s in self.sequences() for block in s.blocks)
        blocks = range(self.pool.blocks)
        assert [self.pool.references(b) for b in blocks] == [holders[b] for b in blocks], "no block is lost"
        assert self.pool.free_blocks == sum(not holders[b] for b in blocks)
        assert self.schedule.running == sum(s.status is Status.RUNNING for s in self.sequences())
        assert self.schedule.waiting == sum(s.status is Status.WAITING for s in self.sequences())
        for sequence in self.sequences():
            self.remember(sequence)
        for digest, held in self.seen.items():
            block = self.pool.find(digest)
            assert block is None or self.cache[block] == held, "a digest finds its own tokens"

    def drain(self) -> None:
        """All requests end within a bound: each may recompute all it has for each token of the others."""
        bound = 20
        for group in self.groups:
            tokens = group.live[0].prompt_tokens + group.live[0].max_tokens
            bound += tokens * (group.live[0].max_tokens * group.beams if group.beams else 1)
        bound *= 1 + len(self.groups)
        while self.step():
            bound -= 1
            assert bound > 0, "no request starves"
        assert self.pool.free_blocks == self.pool.blocks
        assert not any(self.pool.references(block) for block in range(self.pool.blocks))
        assert (self.schedule.running, self.schedule.waiting) == (0, 0)
