"""Weights that stay in their file until a packed layer is made from them, one at a time.

A model whose file holds 4 bits a weight must not need 16 of memory while it is loaded: its linear layers have no
weights then (they are on the meta device), and the packers take each from a `WeightSource`. A weight that is in
groups of 4 bits already goes into an int4 layer as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from weightwright.weights.quantize import GROUP, INT4_MIDDLE, quantize_int4

_SLICE_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Groups:
    """A weight [out, in] in 4 bits: (code - 8) · scale + zero, for each group of 32 inputs.

    codes uint8 [out, in] of 0..15; scale and zero f32 [out, in / 32].
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The weight itself, [out, in]."""
        outputs, inputs = self.codes.shape
        out = torch.empty(outputs, inputs, dtype=dtype)
        step = max(1, _SLICE_ELEMENTS // inputs)
        for start in range(0, outputs, step):
            rows = slice(start, start + step)
            codes = self.codes[rows].float().sub_(INT4_MIDDLE).view(-1, inputs // GROUP, GROUP)
            codes.mul_(self.scale[rows, :, None]).add_(self.zero[rows, :, None])
            out[rows] = codes.view(-1, inputs)
        return out

    @classmethod
    def of(cls, weight: "Tensor | Groups") -> "Groups":
        """Round a dense weight [out, in], in a multiple of 32; what is in groups stays as it is."""
        if isinstance(weight, Groups):
            return weight
        codes, scale, zero = quantize_int4(weight)
        return cls(codes, scale.float(), zero.float())


class WeightSource(Protocol):
    """The weights of a model's files by transformers' names, in transformers' layout."""

    @property
    def dtype(self) -> torch.dtype:
        """Of what `read` gives."""
        ...

    def shape(self, name: str) -> tuple[int, ...] | None:
        """None where the files do not hold it."""
        ...

    def grouped(self, name: str) -> bool:
        """Whether `read_groups` can read it."""
        ...

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor of its own, in the source's dtype or another. Raises ModelError where the file is broken."""
        ...

    def read_groups(self, name: str) -> Groups:
        """A weight in 4 bits as it is stored."""
        ...


@dataclass(frozen=True)
class Weight:
    """A weight [out, in] that comes to life when it is packed: `names` of a source, one below the other."""

    source: WeightSource
    names: Sequence[str]
    rows: Sequence[int]
    inputs: int

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return sum(self.rows), self.inputs

    @property
    def grouped(self) -> bool:
        """Whether any of it is stored in groups of 4 bits."""
        return any(self.source.grouped(name) for name in self.names)

    def dense(self) -> Tensor:
        """[out, in] in the dtype of the source."""
        if len(self.names) == 1:
            return self.source.read(self.names[0])
        out = torch.empty(self.shape, dtype=self.source.dtype)
        for part, name in zip(out.split(list(self.rows)), self.names, strict=True):
            part.copy_(self.source.read(name))
        return out

    def groups(self) -> Groups:
        """In 4 bits; what is not stored so is rounded (files mix forms: Q4_K_M keeps some layers in 6 bits)."""
        source = self.source
        parts = [
            source.read_groups(name) if source.grouped(name) else Groups.of(source.read(name))
            for name in self.names
        ]
        if len(parts) == 1:
            return parts[0]
        return Groups(
            *(torch.cat([getattr(part, field) for part in parts]) for field in ("codes", "scale", "zero"))
        )


def take(parts: Sequence[tuple[str, Any]], source: WeightSource | None) -> Tensor | Weight:
    """The weights of linear layers (path, module), one below the other: from the model, or still in the files."""
    weights = [module.weight.detach() for _, module in parts]
    if source is None or not weights[0].is_meta:
        return _whole(weights)
    names = [f"{path}.weight" for path, _ in parts]
    return Weight(source, names, [len(weight) for weight in weights], weights[0].shape[1])


def lay_together(modules: Sequence[Any]) -> None:
    """Put the weights of linear layers one behind the other in memory, so that `take` needs no copy of them."""
    whole = torch.cat([module.weight.detach() for module in modules])
    for module, part in zip(modules, whole.split([len(module.weight) for module in modules]), strict=True):
        module.weight.data = part


def _whole(weights: Sequence[Tensor]) -> Tensor:
    """One below the other; without a copy where they lie so in memory."""
    first, inputs, end = weights[0], weights[0].shape[1], weights[0].data_ptr()
    for weight in weights:
        same = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not same or weight.data_ptr() != end or not weight.is_contiguous() or weight.shape[1] != inputs:
            return torch.cat(list(weights))
        end += weight.nbytes
    return first.as_strided((sum(map(len, weights)), inputs), (inputs, 1))
