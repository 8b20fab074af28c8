"""The weights of a folder's safetensors files, one tensor at a time: plain ones, and those of GPTQ and AWQ.

GPTQ and AWQ store a linear layer as 4-bit codes with a scale and a zero point for each group of inputs, packed
into int32: GPTQ eight inputs to a number, AWQ eight outputs in an order of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weightwright.errors import ModelError
from weightwright.hub import weight_files
from weightwright.hub.quantized import Scheme
from weightwright.weights.quantize import GROUP, INT4_MIDDLE
from weightwright.weights.source import Groups

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
           "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
           "U8": torch.uint8}  # fmt: skip
_AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # at which of eight nibbles each of eight neighbouring outputs lies


@dataclass(frozen=True)
class SafetensorsWeights:
    """See `source.WeightSource`; holds tensors under the names of the files."""

    dtype: torch.dtype
    files: Mapping[str, tuple[Path, weight_files.Tensor]]

    @classmethod
    def open(cls, folder: Path, dtype: torch.dtype) -> "SafetensorsWeights":
        """Raises ModelError for broken files."""
        tensors: dict[str, tuple[Path, weight_files.Tensor]] = {}
        for file in weight_files.weight_files(folder):
            tensors |= {
                name: (file, tensor) for name, tensor in weight_files.safetensors_header(file).items()
            }
        return cls(dtype, tensors)

    def names(self) -> list[str]:
        """Of all tensors."""
        return list(self.files)

    def sliced(self, name: str) -> tuple["SafetensorsWeights", list[str]]:
        """The same source with the parts [...] of a tensor [n, ...] as tensors of their own, and their names."""
        file, whole = self.files[name]
        count, *shape = whole.shape
        size = whole.elements // count * _DTYPES[whole.dtype].itemsize if whole.dtype in _DTYPES else 0
        parts = {
            f"{name}[{i}]": (file, replace(whole, shape=tuple(shape), start=whole.start + i * size))
            for i in range(count)
        }
        return SafetensorsWeights(self.dtype, {**self.files, **parts}), list(parts)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `WeightSource`."""
        return self.files[name][1].shape if name in self.files else None

    def grouped(self, name: str) -> bool:
        """See `WeightSource`."""
        return False

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """See `WeightSource`."""
        return self.stored(name).to(dtype or self.dtype)

    def read_groups(self, name: str) -> Groups:
        """See `WeightSource`."""
        return Groups.of(self.read(name))

    def stored(self, name: str) -> Tensor:
        """A tensor in the type that it is stored in. Read, not mapped: mapped pages would count as memory."""
        file, tensor = self.files[name]
        if tensor.dtype not in _DTYPES:
            raise ModelError(f"{file} holds {name} as {tensor.dtype}; known are {', '.join(_DTYPES)}")
        dtype = _DTYPES[tensor.dtype]
        size = tensor.elements * dtype.itemsize
        data = np.fromfile(file, np.uint8, size, offset=tensor.start)
        if len(data) != size:
            raise ModelError(f"{file} ends within {name}; get it again")
        return torch.from_numpy(data).view(dtype).view(tensor.shape)


@dataclass(frozen=True)
class QuantizedWeights:
    """See `source.WeightSource`; de-quantises the linear layers of a GPTQ or AWQ checkpoint."""

    plain: SafetensorsWeights
    scheme: Scheme

    @property
    def dtype(self) -> torch.dtype:
        """See `WeightSource`."""
        return self.plain.dtype

    def names(self) -> list[str]:
        """Of all tensors, a quantised one under the name of its weight."""
        codes = {_part(name, "weight") for name in self.plain.names() if name.endswith(".qweight")}
        parts = {_part(name, part) for name in codes for part in ("qweight", "qzeros", "scales", "g_idx")}
        return [*sorted(codes), *(name for name in self.plain.names() if name not in parts)]

    def sliced(self, name: str) -> tuple["QuantizedWeights", list[str]]:
        """See `SafetensorsWeights`: of a tensor that is not quantised."""
        plain, names = self.plain.sliced(name)
        return QuantizedWeights(plain, self.scheme), names

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `WeightSource`."""
        packed = self._packed(name)
        if packed is None:
            return self.plain.shape(name)
        rows, columns = packed
        a_number = 32 // self.scheme.bits
        return (columns * a_number, rows) if self.scheme.method == "awq" else (columns, rows * a_number)

    def grouped(self, name: str) -> bool:
        """See `WeightSource`."""
        shape = self._packed(name) and self.shape(name)
        if not shape or self.scheme.bits != 4:
            return False
        return shape[1] % GROUP == 0 and self._group(shape[1]) % GROUP == 0 and self._order(name) is None

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """See `WeightSource`."""
        if self._packed(name) is None:
            return self.plain.read(name, dtype)
        if self.grouped(name):
            return self.read_groups(name).dense(dtype or self.dtype)
        codes, scales, zeros = self._codes(name)
        inputs = codes.shape[1]
        groups = self._order(name)
        groups = torch.arange(inputs) // self._group(inputs) if groups is None else groups
        dense = codes.float().sub_(zeros.index_select(1, groups)).mul_(scales.index_select(1, groups))
        return dense.to(dtype or self.dtype)

    def read_groups(self, name: str) -> Groups:
        """See `WeightSource`."""
        codes, scales, zeros = self._codes(name)
        times = self._group(codes.shape[1]) // GROUP
        scales, zeros = (
            part.repeat_interleave(times, 1)[:, : codes.shape[1] // GROUP] for part in (scales, zeros)
        )
        return Groups(codes, scales, (INT4_MIDDLE - zeros) * scales)

    def _packed(self, name: str) -> tuple[int, ...] | None:
        """The shape of a weight's codes; None where `name` is no quantised weight, as a bias beside one is not."""
        found = [self.plain.shape(_part(name, part)) for part in ("qweight", "scales")]
        return found[0] if name.endswith(".weight") and None not in found else None

    def _codes(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Codes uint8 [out, in], scales and zero points f32 [out, groups]: weight = (code - zero) · scale."""
        codes, zeros = (self.plain.stored(_part(name, part)) for part in ("qweight", "qzeros"))
        scales = self.plain.stored(_part(name, "scales")).float().t().contiguous()
        bits = self.scheme.bits
        if self.scheme.method == "awq":
            unpacked = [_unpacked(part, bits)[:, :, list(_AWQ_PLACES)].flatten(1) for part in (codes, zeros)]
            return unpacked[0].t().contiguous(), scales, unpacked[1].t().float()
        whole = _unpacked(codes.t().contiguous(), bits).flatten(1)
        # a zero point of 0 was stored as -1, which is all bits set
        shifted = (_unpacked(zeros, bits).flatten(1).t() + self.scheme.zero_shift) & (2**bits - 1)
        return whole, scales, shifted.float()

    def _order(self, name: str) -> Tensor | None:
        """The group of each input where they are not in order (GPTQ's act-order)."""
        if self.plain.shape(_part(name, "g_idx")) is None:
            return None
        groups = self.plain.stored(_part(name, "g_idx")).long()
        return None if torch.equal(groups, torch.arange(len(groups)) // self._group(len(groups))) else groups

    def _group(self, inputs: int) -> int:
        return self.scheme.group if self.scheme.group > 0 else inputs


def _part(name: str, part: str) -> str:
    """The tensor beside the weight `name` that holds its codes, scales or zero points."""
    return f"{name.rpartition('.')[0]}.{part}"


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """int32 [rows, n] -> uint8 [rows, n, 32 / bits], lowest bits first."""
    data = packed.contiguous().view(torch.uint8)  # little-endian, as safetensors files are
    if bits == 8:
        return data.view(len(packed), -1, 4)
    return torch.stack((data & 15, data >> 4), -1).view(len(packed), -1, 8)
