"""The LoRA products of a batch whose rows have different adapters.

As in S-LoRA (arXiv 2311.03285) and Punica (arXiv 2310.18547), one operation multiplies each row with the matrices of
its own adapter. It reads them straight from the stacked matrices of all adapters; nothing is gathered first. The
arithmetic of a row does not depend on the rows beside it. On a CPU one kernel computes both products. Elsewhere
`embedding_bag` does (weighted sums of table rows), and plain matrix products serve a long run of rows with one
adapter (a prefill).
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

import torch
from torch import Tensor

from weightwright.executor import dora
from weightwright.kernels import lora, pool
from weightwright.weights.adapter import LoraWeights

_MANY_ROWS = (
    32  # rows of one adapter in a run, from which plain matrix products beat embedding_bag (measured)
)
_KERNEL_FORMS = ((torch.float32, 1), (torch.bfloat16, 2))  # and how many numbers lie beside each other
_CHUNK = 256  # widest piece of a row of B: pieces of one adapter lie together, so memory is read in order


@dataclass(eq=False)
class BatchRows:
    """Which adapter each row of a batch has, prepared once for all sites. `AdapterBank.batch` makes it."""

    slots: tuple[int, ...]  # of each row; -1 is the base model
    many: list[tuple[int, slice]]  # runs of many rows with one adapter: its slot, the rows
    few: slice | Tensor | None  # the other rows that have an adapter
    few_slots: Tensor  # [few] i64
    few_set: frozenset[int]
    _indices: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)
    _groups: dict[bool, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, slots: tuple[int, ...], device: torch.device | str) -> "BatchRows":
        """Split the rows of a batch, given the slot of each, into long runs of one adapter and the rest."""
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

    @functools.cached_property
    def adapted(self) -> tuple[Tensor, Tensor]:
        """The rows that have an adapter, and the slot of each."""
        pairs = [(row, slot) for row, slot in enumerate(self.slots) if slot >= 0]
        rows, slots = torch.tensor(pairs).unbind(1)
        return rows, slots

    def groups(self, *, every: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The rows that have an adapter as `lora.add` takes them; with `every`, the others too."""
        if every not in self._groups:
            starts, order, slots = [0], list[int](), list[int]()
            for slot, run in groupby(range(len(self.slots)), self.slots.__getitem__):
                rows = list(run) if every or slot >= 0 else []
                for first in range(0, len(rows), lora.ROWS):
                    order += rows[first : first + lora.ROWS]
                    starts.append(len(order))
                    slots.append(slot)
            self._groups[every] = torch.tensor(starts), torch.tensor(order), torch.tensor(slots)
        return self._groups[every]


@dataclass(frozen=True, slots=True)
class Part:
    """One module within a site: where its outputs and its chunks of B begin."""

    path: str
    out: int  # outputs
    start: int  # its first output within the site
    chunks: slice  # its chunks of B


@dataclass(eq=False)
class SiteWeights:
    """One adapter's part of a site, laid out as the site's stacks are, without their first dimension."""

    ranks: list[int]  # of each part, 0 where it has none
    a: Tensor
    b: Tensor
    bias: Tensor | None = None
    gain: Tensor | None = None
    base_bias: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices."""
        return int(self.a.nbytes + self.b.nbytes)


class LoraSite:
    """The place where adapters act: one input, one or several modules whose outputs lie side by side.

    `a` is [slots, in / t, parts, rank, t] and `b` [slots, chunks, rank / t, chunk, t], with the scale folded into `b`
    and zeros where an adapter has a smaller rank or none; both are None while no adapter has a module here. t is
    2 for the kernel on bf16, which takes pairs, else 1. `layer` is the base layer, [n, in] -> [n, out], which a
    DoRA adapter is measured with when it is put there.
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, int]],
        inputs: int,
        dtype: torch.dtype,
        device: torch.device | str,
        layer: Callable[[Tensor], Tensor],
    ) -> None:
        sizes = [out for _, out in parts]
        self.inputs, self.outputs = inputs, sum(sizes)
        self._dtype, self._device, self._layer = dtype, device, layer
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
        self._part_of_chunk = torch.arange(len(parts)).repeat_interleave(torch.tensor(counts)).to(device)
        self._padded = ends[-1] * chunk != self.outputs
        self._together = 2 if dtype == torch.bfloat16 and inputs % 2 == 0 else 1
        self._kernel = str(device) == "cpu" and pool.available() and (dtype, self._together) in _KERNEL_FORMS
        if not self._kernel:
            self._together = 1
        self._layout = torch.tensor([[part.start, part.out, part.chunks.start] for part in self.parts])
        self.a: Tensor | None = None
        self.b: Tensor | None = None
        self.bias: Tensor | None = None  # [slots, out], scaled
        self.gain: Tensor | None = None  # [slots, out] f32, of DoRA adapters, and 0
        self._base_bias: Tensor | None = None  # [out], known where a gain is
        self._ranks: dict[int, list[int]] = {}  # slot -> rank of each part, 0 where it has none

    @property
    def nbytes(self) -> int:
        """Bytes of the stacked matrices."""
        return sum(tensor.nbytes for tensor in (self.a, self.b, self.bias, self.gain) if tensor is not None)

    def lengths(self, weights: Sequence[LoraWeights | None]) -> dict[str, Tensor]:
        """The row lengths [out] f32 of the modules that have a magnitude, by path; as slow as many engine steps."""
        stretched = [
            (part, one) for part, one in zip(self.parts, weights, strict=True)
            if one is not None and one.magnitude is not None
        ]  # fmt: skip
        if not stretched:
            return {}
        with torch.no_grad():
            row_lengths = dora.lengths(
                self._layer,
                self._bias(),
                [part.start for part, _ in stretched],
                [one for _, one in stretched],
            )
        return {part.path: length for (part, _), length in zip(stretched, row_lengths, strict=True)}

    def prepare(self, weights: Sequence[LoraWeights | None], lengths: Mapping[str, Tensor]) -> "SiteWeights":
        """Lay out one adapter's matrices, those of each part, as `put` takes them; any thread may call this.

        `lengths`: the row lengths of the modules that have a magnitude, by path.
        """
        t = self._together
        ranks = [0 if adapter is None else adapter.rank for adapter in weights]
        rank = -(-max(ranks) // t) * t
        made = SiteWeights(
            ranks,
            torch.zeros(self.inputs // t, len(self.parts), rank, t, dtype=self._dtype),
            torch.zeros(self.parts[-1].chunks.stop, rank // t, self._chunk, t, dtype=self._dtype),
        )
        for at, (part, adapter) in enumerate(zip(self.parts, weights, strict=True)):
            if adapter is None:
                continue
            own = slice(part.start, part.start + part.out)
            count, pairs = part.chunks.stop - part.chunks.start, -(-adapter.rank // t)
            made.a[:, at, : adapter.rank] = adapter.a.t().reshape(-1, t, adapter.rank).transpose(1, 2)
            table = torch.zeros(pairs * t, count * self._chunk)
            table[: adapter.rank, : part.out] = adapter.b.float().t() * adapter.scale
            if adapter.magnitude is not None:
                made.gain = torch.zeros(self.outputs) if made.gain is None else made.gain
                made.gain[own] = dora.gain(adapter.magnitude.cpu(), lengths[part.path].cpu())
                made.base_bias = self._bias()
                table[:, : part.out] *= 1 + made.gain[own]
            made.b[part.chunks, :pairs] = table.view(pairs, t, count, -1).permute(2, 0, 3, 1)
            if adapter.bias is not None:
                made.bias = torch.zeros(self.outputs) if made.bias is None else made.bias
                made.bias[own] = adapter.bias.float() * adapter.scale
        return made

    def put(self, slot: int, slots: int, made: "SiteWeights") -> None:
        """Place one adapter's matrices into one of `slots` slots."""
        self._ranks[slot] = made.ranks
        self.fit(slots)
        assert self.a is not None
        assert self.b is not None
        self.a[slot, :, :, : made.a.shape[2]] = made.a
        self.b[slot, :, : made.b.shape[1]] = made.b
        if made.bias is not None:
            if self.bias is None:
                self.bias = torch.zeros(len(self.a), self.outputs, dtype=self._dtype, device=self._device)
            self.bias[slot] = made.bias
        if made.gain is not None:
            if self.gain is None:
                self.gain = torch.zeros(len(self.a), self.outputs, device=self._device)
            self.gain[slot], self._base_bias = made.gain, made.base_bias

    def _bias(self) -> Tensor:
        """The base layer's bias [out]."""
        if self._base_bias is not None:
            return self._base_bias
        with torch.no_grad():
            return self._layer(torch.zeros(1, self.inputs, dtype=self._dtype, device=self._device))[0]

    def clear(self, slot: int) -> None:
        """Empty a slot."""
        if self._ranks.pop(slot, None) is not None:
            for tensor in (self.a, self.b, self.bias, self.gain):
                if tensor is not None:
                    tensor[slot] = 0

    def fit(self, slots: int) -> None:
        """Size the stacks for all slots of the bank (a row's may be any of them) and the ranks in use."""
        if not self._ranks:
            self.a = self.b = self.bias = self.gain = None
            return
        t = self._together
        rank = -(-max(map(max, self._ranks.values())) // t) * t
        if self.a is not None and self.a.shape[0] == slots and self.a.shape[3] == rank:
            return
        self.a = self._resized(self.a, slots, self.inputs // t, len(self.parts), rank, t)
        self.b = self._resized(self.b, slots, self.parts[-1].chunks.stop, rank // t, self._chunk, t)
        if self.bias is not None:
            self.bias = self._resized(self.bias, slots, self.outputs)
        if self.gain is not None:
            self.gain = self._resized(self.gain, slots, self.outputs, dtype=torch.float32)

    def _resized(self, old: Tensor | None, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        size, dtype = math.prod(shape), dtype or self._dtype
        new = torch.zeros(size + 2 * lora.PADDING, dtype=dtype, device=self._device)[:size].view(shape)
        if old is not None:
            kept = tuple(slice(min(have, want)) for have, want in zip(old.shape, shape, strict=True))
            new[kept] = old[kept]
        return new

    def add_(
        self,
        y: Tensor,
        x: Tensor,
        rows: BatchRows,
        scales: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Make `y` [rows, out] = y x scales [rows] + bias [out] + what each row's adapter makes of `x` [rows, in].

        In place; returns `y`. `y` and `x` may be f32 or bf16; the products are computed in the bank's type, or with
        f32 sums of its numbers. What `bias` is None for, y holds already.
        """
        if self.gain is not None and rows.active:
            where, slots = rows.adapted
            held = self._base_bias if bias is None else None
            dora.apply_(y, where, self.gain.index_select(0, slots), held)
        unfinished = scales is not None or bias is not None
        if self._kernel and self.a is not None and self.b is not None:
            lora.add(y, x, self.a, self.b, self._layout, rows.groups(every=unfinished), scales, bias)
            if self.bias is not None:
                where, slots = rows.adapted
                y.index_add_(0, where, self.bias.index_select(0, slots).to(y.dtype))
            return y
        y = y if scales is None else y.mul_(scales[:, None])
        y = y if bias is None else y.add_(bias)
        if self.a is None or self.b is None:
            return y
        x = x if x.dtype == self._dtype else x.to(self._dtype)
        for slot, where in rows.many:
            if slot in self._ranks:
                self._add_many(y, x, slot, where)
        if rows.few is not None and not rows.few_set.isdisjoint(self._ranks):
            self._add_few(y, x, self.a, self.b, rows)
        return y

    def _add_few(self, y: Tensor, x: Tensor, a: Tensor, b: Tensor, rows: BatchRows) -> None:
        if len(rows.few_slots) == len(rows.slots):
            y.add_(self._few(x, a, b, rows))
            return
        delta = self._few(x[rows.few], a, b, rows)
        if isinstance(rows.few, slice):
            y[rows.few].add_(delta)
        else:
            y.index_add_(0, rows.few, delta.to(y.dtype))

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
    """Weighted sums of table rows [rows, width], one per bag: a weight per index -> [bags, width]."""
    index, starts = bags
    sums: Tensor = torch.embedding_bag(table, index, starts, False, 0, False, weights.reshape(-1))[0]
    return sums


def _rows(rows: list[int], device: torch.device | str) -> slice | Tensor:
    """Rows that follow each other as a slice, which needs no copy."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)
