"""One forward pass for the works of a step: who stands where in the packed rows, and the logits they asked for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from weightwright.engine.schedule import Batch, Work
from weightwright.engine.sequence import Sequence as Tokens
from weightwright.kernels.cache import BLOCK_TOKENS, PagedCache
from weightwright.kernels.step import Segment, Step

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.engine.assemble import Parts

_FEW = 8  # up to so many tokens of a sequence are attended one by one where there is a kernel for it


class Runner:
    """Runs batches of a schedule over one cache."""

    def __init__(self, parts: "Parts", cache: PagedCache | None = None) -> None:
        self._executor, self._bank, self._native = parts.executor, parts.bank, parts.native
        self._cache = cache or parts.cache
        self._device = parts.device

    def run(self, batch: Batch, slots: Mapping[Tokens, int] | None = None) -> "Tensor":
        """Logits [rows, vocab] f32 of all positions that need them, in the order of the works.

        `slots` has the adapter slot of each sequence; -1, or nothing said, is the base model.
        """
        self._cache.copy(batch.copies)
        ordered = self._ordered(batch.works, slots or {})
        ids, positions, step, rows = self._prepare(batch.works, ordered)
        self._choose_adapters(batch.works, ordered, slots or {})
        return self._executor.logits(ids, positions, step, rows)

    def hidden(self, batch: Batch) -> "Tensor":
        """The last hidden states [tokens, hidden] f32 of all tokens, in the order of the works."""
        import torch

        self._cache.copy(batch.copies)
        ordered = self._ordered(batch.works, {})
        ids, positions, step, _ = self._prepare(batch.works, ordered)
        self._choose_adapters(batch.works, ordered, {})
        states = self._executor.hidden(ids, positions, step)
        starts, start = {}, 0
        for work in ordered:
            starts[id(work)] = start
            start += len(work.tokens)
        return torch.cat([states[starts[id(w)] : starts[id(w)] + len(w.tokens)] for w in batch.works])

    def _choose_adapters(
        self, works: Sequence[Work], ordered: Sequence[Work], slots: Mapping[Tokens, int]
    ) -> None:
        """Tell the adapters which rows are theirs, in all layers and at the head."""
        if not self._bank.names:
            self._bank.rows = self._bank.head_rows = None
            return
        self._bank.rows = self._bank.batch(slots.get(w.sequence, -1) for w in ordered for _ in w.tokens)
        self._bank.head_rows = self._bank.batch(
            slots.get(w.sequence, -1) for w in works for _ in range(w.logits)
        )

    def _ordered(self, works: Sequence[Work], slots: Mapping[Tokens, int]) -> list[Work]:
        """Those that are attended token by token first, and those of one adapter together."""
        few = _FEW if self._native else 1
        return sorted(works, key=lambda work: (len(work.tokens) > few, slots.get(work.sequence, -1)))

    def _prepare(
        self, works: Sequence[Work], ordered: Sequence[Work]
    ) -> "tuple[Tensor, Tensor, Step, Tensor]":
        import torch

        few = _FEW if self._native else 1
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
        rows = [row for w in works for row in range(ends[id(w)] - w.logits, ends[id(w)])]
        step = Step(
            cache=self._cache,
            slots=self._whole(slots),
            singles=len(lengths),
            tables=_tables(tables, lengths).to(self._device),
            lengths=self._whole(lengths),
            segments=segments,
            native=self._native,
        )
        return self._whole(ids), self._whole(positions), step, self._whole(rows)

    def _whole(self, numbers: Sequence[int]) -> "Tensor":
        import torch

        return torch.tensor(numbers, dtype=torch.long, device=self._device)


def _tables(tables: Sequence[Sequence[int]], lengths: Sequence[int]) -> "Tensor":
    """Block tables as [rows, width of the longest] i32, padded with 0."""
    import torch

    width = -(-max(lengths, default=1) // BLOCK_TOKENS)
    out = torch.zeros(len(tables), width, dtype=torch.int32)
    array = out.numpy()
    for row, (blocks, length) in enumerate(zip(tables, lengths, strict=True)):
        used = -(-length // BLOCK_TOKENS)
        array[row, :used] = blocks[:used]
    return out
