"""Where LoRA adapters act: the products of a batch whose rows have different adapters.

As in S-LoRA (arXiv 2311.03285) and Punica (arXiv 2310.18547), each row meets the matrices of its own adapter,
all rows in one operation: both products are weighted sums of table rows, which is what `embedding_bag`
computes, straight from the stacked matrices of all adapters, without gathering them first and with the same
arithmetic for a row whatever stands beside it. A long run of rows with one adapter (a prefill) uses plain
matrix products.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

import torch
from torch import Tensor

from weightwright.model.lora_file import LoraWeights

_MANY_ROWS = 32  # of one adapter in a run: from here its own matrix products beat bags (measured)
_CHUNK = 256  # widest piece of a row of B: pieces of one adapter lie together, so memory is read in order


@dataclass(slots=True, eq=False)
class BatchRows:
    """Which adapter each row of a batch has, prepared once for all sites. `AdapterBank.batch` makes it."""

    slots: tuple[int, ...]  # of each row; -1 is the base model
    many: list[tuple[int, slice]]  # runs of many rows with one adapter: its slot, the rows
    few: slice | Tensor | None  # the other rows that have an adapter
    few_slots: Tensor  # [few] i64
    few_set: frozenset[int]
    _indices: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, slots: tuple[int, ...], device: torch.device | str) -> "BatchRows":
        """Part a batch's rows, given the slot of each, into long runs of one adapter and the rest."""
        many, few, first = [], list[int](), 0
        for slot, run in groupby(slots):
            rows = range(first, first := first + len(list(run)))
            if slot >= 0 and len(rows) >= _MANY_ROWS:
                many.append((slot, slice(rows.start, rows.stop)))
            elif slot >= 0:
                few += rows
        few_slots = torch.tensor([slots[row] for row in few], dtype=torch.int64, device=device)
        return cls(slots, many, _rows(few, device) if few else None, few_slots, frozenset(few_slots.tolist()))

    @property
    def active(self) -> bool:
        """Whether any row has an adapter."""
        return bool(self.many) or self.few is not None

    def bags(self, chunks: int, size: int) -> tuple[Tensor, Tensor]:
        """Table rows and bag starts (i32) for `few`; a slot holds `chunks` bags of `size` table rows."""
        if (chunks, size) not in self._indices:
            chunk = torch.arange(chunks, device=self.few_slots.device)
            bag = self.few_slots[:, None] * chunks + chunk
            index = bag.reshape(-1, 1) * size + torch.arange(size, device=bag.device)
            starts = torch.arange(0, index.numel(), size, dtype=torch.int32, device=bag.device)
            self._indices[chunks, size] = index.reshape(-1).to(torch.int32), starts
        return self._indices[chunks, size]


@dataclass(frozen=True, slots=True)
class Part:
    """One module within a site: where its outputs and its chunks of B begin."""

    path: str
    out: int  # outputs
    start: int  # its first output within the site
    chunks: slice  # its chunks of B


class LoraSite:
    """The place where adapters act: one input, one or several modules whose outputs lie side by side.

    `a` is [slots, in, parts, rank] and `b` [slots, chunks, rank, chunk], with the scale folded into `b` and
    zeros where an adapter has a smaller rank or none; both are None while no adapter has a module here.
    """

    def __init__(
        self, parts: Sequence[tuple[str, int]], inputs: int, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        sizes = [out for _, out in parts]
        self.inputs, self.outputs = inputs, sum(sizes)
        self._dtype, self._device = dtype, device
        common = math.gcd(*sizes)
        chunk = max(size for size in range(1, min(common, _CHUNK) + 1) if common % size == 0)
        if chunk < 64:  # e.g. GPT-2's vocabulary: whole chunks, the last of each part padded
            chunk = min(_CHUNK, max(sizes))
        self._chunk = chunk
        counts = [-(-out // chunk) for out in sizes]
        ends = list(accumulate(counts))
        self.parts = tuple(
            Part(path, out, start, slice(end - count, end))
            for (path, out), start, end, count in zip(
                parts, accumulate(sizes, initial=0), ends, counts, strict=False
            )
        )
        self._part_of_chunk = torch.arange(len(parts), device=device).repeat_interleave(
            torch.tensor(counts, device=device)
        )
        self._padded = ends[-1] * chunk != self.outputs
        self.a: Tensor | None = None
        self.b: Tensor | None = None
        self.bias: Tensor | None = None  # [slots, out], scaled
        self._ranks: dict[int, list[int]] = {}  # slot -> rank of each part, 0 where it has none

    @property
    def nbytes(self) -> int:
        """Bytes of the stacked matrices."""
        return sum(tensor.nbytes for tensor in (self.a, self.b, self.bias) if tensor is not None)

    def put(self, slot: int, weights: Sequence[LoraWeights | None]) -> None:
        """Place one adapter's matrices, those of each part, into a slot."""
        self._ranks[slot] = [0 if found is None else found.rank for found in weights]
        self.fit(max(slot + 1, 0 if self.a is None else len(self.a)))
        assert self.a is not None
        assert self.b is not None
        for at, (part, found) in enumerate(zip(self.parts, weights, strict=True)):
            if found is None:
                continue
            self.a[slot, :, at, : found.rank] = found.a.t()
            count = part.chunks.stop - part.chunks.start
            table = torch.zeros(found.rank, count * self._chunk)
            table[:, : part.out] = found.b.float().t() * found.scale
            self.b[slot, part.chunks, : found.rank] = table.view(found.rank, count, -1).transpose(0, 1)
            if found.bias is not None:
                if self.bias is None:
                    self.bias = torch.zeros(len(self.a), self.outputs, dtype=self._dtype, device=self._device)
                self.bias[slot, part.start : part.start + part.out] = found.bias.float() * found.scale

    def clear(self, slot: int) -> None:
        """Empty a slot."""
        if self._ranks.pop(slot, None) is not None:
            for tensor in (self.a, self.b, self.bias):
                if tensor is not None:
                    tensor[slot] = 0

    def fit(self, slots: int) -> None:
        """Size the stacks for all slots of the bank (a row's may be any of them) and the ranks in use."""
        if not self._ranks:
            self.a = self.b = self.bias = None
            return
        rank = max(map(max, self._ranks.values()))
        if self.a is not None and self.a.shape[0] == slots and self.a.shape[3] == rank:
            return
        self.a = self._resized(self.a, slots, self.inputs, len(self.parts), rank)
        self.b = self._resized(self.b, slots, self.parts[-1].chunks.stop, rank, self._chunk)
        if self.bias is not None:
            self.bias = self._resized(self.bias, slots, self.outputs)

    def _resized(self, old: Tensor | None, *shape: int) -> Tensor:
        new = torch.zeros(shape, dtype=self._dtype, device=self._device)
        if old is not None:
            kept = tuple(slice(min(have, want)) for have, want in zip(old.shape, shape, strict=True))
            new[kept] = old[kept]
        return new

    def add_(self, y: Tensor, x: Tensor, rows: BatchRows) -> Tensor:
        """Add to `y` [rows, out] in place what each row's adapter makes of `x` [rows, in]; returns `y`.

        `y` and `x` may be f32 or bf16; the products are computed in the bank's type.
        """
        if self.a is None or self.b is None:
            return y
        x = x if x.dtype == self._dtype else x.to(self._dtype)
        for slot, where in rows.many:
            if slot in self._ranks:
                self._add_many(y, x, slot, where)
        if rows.few is not None and not rows.few_set.isdisjoint(self._ranks):
            if len(rows.few_slots) == len(rows.slots):
                return y.add_(self._few(x, self.a, self.b, rows))
            delta = self._few(x[rows.few], self.a, self.b, rows)
            if isinstance(rows.few, slice):
                y[rows.few].add_(delta)
            else:
                y.index_add_(0, rows.few, delta.to(y.dtype))
        return y

    def _few(self, x: Tensor, a: Tensor, b: Tensor, rows: BatchRows) -> Tensor:
        """Every row with the matrices of its own slot: x [few, in] -> [few, out]."""
        few, parts, rank = len(x), len(self.parts), a.shape[3]
        h = _bags(a.view(-1, parts * rank), rows.bags(1, self.inputs), x).view(few, parts, rank)
        chunks = b.shape[1]
        h = h.index_select(1, self._part_of_chunk)  # a bag's weights for each chunk of its part
        delta = _bags(b.view(-1, self._chunk), rows.bags(chunks, rank), h).view(few, -1)
        if self._padded:
            firsts = [(part.chunks.start * self._chunk, part.out) for part in self.parts]
            delta = torch.cat([delta[:, first : first + out] for first, out in firsts], 1)
        return delta if self.bias is None else delta.add_(self.bias.index_select(0, rows.few_slots))

    def _add_many(self, y: Tensor, x: Tensor, slot: int, where: slice) -> None:
        """A run of one adapter's rows by plain matrix products."""
        assert self.a is not None
        assert self.b is not None
        rank = self.a.shape[3]
        h = x[where] @ self.a[slot].view(self.inputs, -1)
        table = self.b[slot].transpose(0, 1).reshape(rank, -1)
        for at, (part, used) in enumerate(zip(self.parts, self._ranks[slot], strict=True)):
            first = part.chunks.start * self._chunk
            left, right = h[:, at * rank : at * rank + used], table[:used, first : first + part.out]
            target = y[where, part.start : part.start + part.out]
            if used:
                target.addmm_(left.to(y.dtype), right.to(y.dtype))  # in place: no delta is written first
        if self.bias is not None:
            y[where].add_(self.bias[slot])


def _bags(table: Tensor, bags: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
    """Each bag's table rows, weighted and summed: [rows, width], a weight per index -> [bags, width]."""
    index, starts = bags
    found: Tensor = torch.embedding_bag(table, index, starts, False, 0, False, weights.reshape(-1))[0]
    return found


def _rows(rows: list[int], device: torch.device | str) -> slice | Tensor:
    """Rows that follow each other as a slice, which needs no copy."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)
