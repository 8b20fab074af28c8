"""One forward pass for the works of a step: the packed rows, and the logits or hidden states that were asked for."""

from collections import abc
from typing import TYPE_CHECKING

from weightwright.engine.schedule import Batch
from weightwright.engine.sequence import Output, Sequence, Work
from weightwright.kernels.cache import BLOCK_TOKENS
from weightwright.kernels.step import Segment, Step

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.engine.assemble import Parts

_FEW = 8  # up to so many tokens of a sequence are attended one by one where there is a kernel for it


class Runner:
    """Runs the batches of a schedule over the model's cache."""

    def __init__(self, parts: "Parts") -> None:
        self._executor, self._bank, self._native = parts.executor, parts.bank, parts.native
        self._cache = parts.cache
        self._device = parts.device

    def run(self, batch: Batch) -> Output:
        """Logits and hidden states of all positions that need them, in the order of the works."""
        self._cache.copy(batch.copies)
        slots = {work.sequence: self._bank.slot(work.sequence.adapter) for work in batch.works}
        ordered = self._ordered(batch.works, slots)
        ids, positions, step, ends = self._prepare(ordered)
        self._choose_adapters(batch.works, ordered, slots)
        rows = [row for work in batch.works for row in _last(ends, work, work.logits)]
        states = [row for work in batch.works for row in _last(ends, work, work.states)]
        return Output(
            *self._executor.forward(
                ids, positions, step, self._whole(rows), self._whole(states) if states else None
            )
        )

    def _choose_adapters(
        self, works: abc.Sequence[Work], ordered: abc.Sequence[Work], slots: abc.Mapping[Sequence, int]
    ) -> None:
        """Tell the adapters which rows are theirs, in all layers, behind the last one's attention and at the head."""
        bank = self._bank
        if not bank.names:
            bank.rows = bank.wanted_rows = bank.head_rows = None
            return
        heads = [slots[work.sequence] for work in works for _ in range(work.logits)]
        states = [slots[work.sequence] for work in works for _ in range(work.states)]
        bank.rows = bank.batch(slots[work.sequence] for work in ordered for _ in work.tokens)
        bank.head_rows = bank.batch(heads)
        bank.wanted_rows = bank.batch(heads + states) if states else bank.head_rows

    def _ordered(self, works: abc.Sequence[Work], slots: abc.Mapping[Sequence, int]) -> list[Work]:
        """Those that are attended token by token first, and those of one adapter together."""
        few = _FEW if self._native else 1
        return sorted(works, key=lambda work: (len(work.tokens) > few, slots[work.sequence]))

    def _prepare(self, ordered: abc.Sequence[Work]) -> "tuple[Tensor, Tensor, Step, dict[int, int]]":
        """The tokens, where they stand, and behind which row each work (by `id`) ends."""
        import torch

        few = _FEW if self._native else 1
        holders = [(work.sequence, len(work.tokens)) for work in ordered]
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        tables: list[list[int]] = []
        lengths: list[int] = []
        segments: list[Segment] = []
        ends: dict[int, int] = {}
        for work in ordered:
            start, blocks = len(ids), work.sequence.blocks
            ids += work.tokens
            places = range(work.start, work.start + len(work.tokens))
            positions += places
            slots += [blocks[p // BLOCK_TOKENS] * BLOCK_TOKENS + p % BLOCK_TOKENS for p in places]
            if len(work.tokens) <= few:
                tables += [blocks] * len(work.tokens)
                lengths += [p + 1 for p in places]
            else:
                length = places.stop
                table = torch.tensor(blocks[: -(-length // BLOCK_TOKENS)], device=self._device)
                segments.append(Segment(start, len(work.tokens), length, table))
            ends[id(work)] = len(ids)
        step = Step(
            cache=self._cache,
            slots=self._whole(slots),
            singles=len(lengths),
            tables=_tables(tables, lengths).to(self._device),
            lengths=self._whole(lengths),
            segments=segments,
            native=self._native,
            holders=holders,
        )
        return self._whole(ids), self._whole(positions), step, ends

    def _whole(self, numbers: abc.Sequence[int]) -> "Tensor":
        import torch

        return torch.tensor(numbers, dtype=torch.long, device=self._device)


def _last(ends: abc.Mapping[int, int], work: Work, count: int) -> range:
    """The last `count` rows of a work."""
    return range(ends[id(work)] - count, ends[id(work)])


def _tables(tables: abc.Sequence[abc.Sequence[int]], lengths: abc.Sequence[int]) -> "Tensor":
    """Block tables as [rows, width of the longest] i32, padded with 0."""
    import torch

    width = -(-max(lengths, default=1) // BLOCK_TOKENS)
    out = torch.zeros(len(tables), width, dtype=torch.int32)
    array = out.numpy()
    for row, (blocks, length) in enumerate(zip(tables, lengths, strict=True)):
        used = -(-length // BLOCK_TOKENS)
        array[row, :used] = blocks[:used]
    return out
