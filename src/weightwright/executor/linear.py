"""Linear layers whose weight is laid out once, at load, for the kernel that multiplies with it.

Four forms: f32 and bf16 (in oneDNN's own layout where torch has it: `F.linear` re-lays a bf16 weight at each
call), int8 × int8 (oneDNN, activations quantised per token as they come) and int4 weights (groups of 32, best
for few rows). One packing serves every number of rows. On accelerators int8 and int4 are `weight_only`'s.

The packed tensors are plain attributes, neither parameters nor buffers: `Module.to` does not reach them, and
nothing keeps the weight that they were made from.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwright.errors import SettingsError
from weightwright.executor.packed import PackedLinear
from weightwright.executor.probe import packs, supported
from weightwright.executor.weight_only import Int4Weight, Int8Weight
from weightwright.kernels import int4
from weightwright.kernels.elementwise import padded
from weightwright.kernels.int8 import INT8_LEVELS, PACK_ROWS, int8_kernel, qlinear
from weightwright.kernels.skinny import MOST_ROWS, skinny
from weightwright.weights.quantize import (
    GROUP,
    quantize_int4,
    quantize_int8,
    quantize_rows,
    rotation_block,
)
from weightwright.weights.source import Weight

__all__ = [
    "FORMS",
    "DenseLinear",
    "EmbeddingInt8",
    "Form",
    "Int4Linear",
    "Int8Linear",
    "MixedLinear",
    "PackedLinear",
    "pack",
    "quantize_int8",
    "quantize_rows",
    "supported",
]

Form = Literal["f32", "bf16", "int8", "int4"]
FORMS: tuple[Form, ...] = get_args(Form)

_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
_KEPT_ROWS = (
    128  # of logits; where signed codes are fast oneDNN has AMX, which beats the kernel from few rows on
)
_INT4_ROWS = 16  # the kernel takes output channels in sixteens
_INT4_BLOCK_ROWS = 4096  # codes are packed in blocks, as the packing wants them as 32 bits each


class DenseLinear(PackedLinear):
    """A weight in f32 or bf16: in oneDNN's layout on a CPU that has it, else as it is.

    With `shared` it is the tensor that was given, which others go on using.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, form: str, *, shared: bool = False) -> None:
        dtype = _DTYPES[form]
        super().__init__(form, weight.shape[1], weight.shape[0], weight.numel() * dtype.itemsize)
        self.dtype = dtype
        self.bias: Tensor | None = None if bias is None else bias.detach().to(dtype, copy=True)
        plain = weight.detach().to(dtype)
        self.packed = not shared and weight.device.type == "cpu" and packs(dtype)
        if shared:
            self.weight = plain
        elif self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(plain.contiguous(), PACK_ROWS)
        else:
            self.weight = plain if plain.dtype != weight.dtype else plain.clone()

    def forward(self, x: Tensor) -> Tensor:
        """See PackedLinear."""
        rows = self._rows(x)
        if self.packed and len(rows):
            more = padded(rows.to(self.dtype))
            out = torch.ops.mkldnn._linear_pointwise(more, self.weight, self.bias, "none", [], "")
            out = out[: len(rows)]
        elif self.packed:
            out = rows.new_empty(0, self.out_features)
        else:
            out = F.linear(rows.to(self.dtype), self.weight, self.bias)
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)


class Int8Linear(PackedLinear):
    """int8 weights, one scale an output channel, times activations quantised per token.

    Whoever quantises the rows himself and calls `product` must do what `quantize_rows(x, offset, block)` does:

    - `offset` is added to the codes: 0 for `activation_dtype` int8, 128 for uint8, whichever this CPU has a fast
      and exact kernel for;
    - each `block` neighbouring inputs are rotated together first, as the weight was (1: they are not).

    `scale` [out] f32 is inside the product, `bias` [out] f32 and the rows' own scales are not.
    """

    def __init__(self, q: Tensor, scale: Tensor, bias: Tensor | None, block: int = 1) -> None:
        outputs, inputs = q.shape
        super().__init__("int8", inputs, outputs, q.numel() + 4 * outputs)
        kernel = int8_kernel()
        self.offset, self.block = kernel.offset, block
        self.activation_dtype = torch.uint8 if kernel.offset else torch.int8
        self.scale = scale.detach().to(torch.float32, copy=True)
        self.bias = None if bias is None else bias.detach().to(torch.float32, copy=True)
        self._zeros = torch.zeros(outputs, dtype=torch.int32)
        self._packed = torch.ops.onednn.qlinear_prepack(q.contiguous(), [PACK_ROWS, inputs])
        self.skinny = skinny(self._packed, outputs, inputs)  # None where oneDNN alone multiplies
        self._output = torch.empty(0)

    @classmethod
    def from_int8(cls, q: Tensor, scale: Tensor, bias: Tensor | None = None, block: int = 1) -> "Int8Linear":
        """From weights that are int8 already: q [out, in], scale [out] f32; rotated weight ≈ q · scale[:, None].

        On a CPU without VNNI they are rounded to 7 bits, without which its products would overflow.
        Raises SettingsError where int8 cannot run.
        """
        levels = int8_kernel().levels
        if levels < INT8_LEVELS:
            ratio = levels / INT8_LEVELS
            return cls((q * ratio).round_().to(torch.int8), scale / ratio, bias, block)
        return cls(q, scale, bias, block)

    def product(self, xq: Tensor) -> Tensor:
        """Codes [n, in] of activation_dtype -> ((xq - offset) q^T) · scale [n, out]: no row scale, no bias."""
        if self.skinny is not None and len(xq) <= MOST_ROWS:
            return self.skinny(xq, self.scale)
        return qlinear(padded(xq), self.offset, (self._packed, self.scale, self._zeros))[: len(xq)]

    def logits(self, xq: Tensor, row_scale: Tensor) -> Tensor:
        """Codes [n, in] and their scales [n] f32 -> the layer's whole output [n, out] f32, good until the next call.

        For a head: what it gives is so large that the system would have to find its pages anew at each step.
        """
        n = len(xq)
        if self.skinny is None or n > (_KEPT_ROWS if self.offset else MOST_ROWS):
            out = self.product(xq).mul_(row_scale[:, None])
        else:
            if len(self._output) < n:
                self._output = torch.empty(n, self.out_features)
            out = self.skinny(xq, self.scale, row_scale, self._output[:n])
        return out if self.bias is None else out.add_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """See PackedLinear."""
        rows = self._rows(x)
        if not len(rows):
            return x.new_empty(*x.shape[:-1], self.out_features)
        xq, row_scale = quantize_rows(rows, self.offset, self.block)
        out = self.product(xq)
        out = out.mul_(row_scale) if self.bias is None else torch.addcmul(self.bias, out, row_scale)
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)


class Int4Linear(PackedLinear):
    """int4 weights in groups of 32 inputs: times activations in signed bytes by our kernels, else bf16 by torch's.

    Sizes that the kernels do not take (`in` not a multiple of 32, `out` not of 16) are padded with zeros. `packed` is
    the weight as our kernels read it, None where torch's are used.
    """

    def __init__(
        self, codes: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None, in_features: int
    ) -> None:
        outputs = codes.shape[0]
        more_rows, self._more_columns = -outputs % _INT4_ROWS, codes.shape[1] - in_features
        self.bias = None
        if more_rows:
            codes, scale, zero = (F.pad(part, (0, 0, 0, more_rows)) for part in (codes, scale, zero))
        self.packed = int4.Packed(codes, scale, zero) if int4.supported() else None
        held = codes.numel() // 2 + 4 * scale.numel() if self.packed is None else self.packed.nbytes
        super().__init__("int4", in_features, outputs, held)
        if self.packed is not None:
            self._product = int4.Several([self.packed])
            self.bias = None if bias is None else bias.detach().to(torch.float32, copy=True)
            return
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16, copy=True)
        self._scales = torch.stack((scale, zero), -1).transpose(0, 1).to(torch.bfloat16).contiguous()
        self._codes = torch.cat([
            torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes[i : i + _INT4_BLOCK_ROWS].int(), 1)
            for i in range(0, len(codes), _INT4_BLOCK_ROWS)
        ])  # fmt: skip

    @classmethod
    def from_groups(
        cls, codes: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None = None
    ) -> "Int4Linear":
        """From weights that are in 4 bits already: weight ≈ (code - 8) · scale + zero.

        codes uint8 [out, in] of 0..15, scale and zero [out, in / 32] (held in bf16). Raises SettingsError where
        int4 cannot run, ValueError where the groups are not of 32.
        """
        outputs, inputs = codes.shape
        if inputs % GROUP or scale.shape != (outputs, inputs // GROUP) or zero.shape != scale.shape:
            raise ValueError(f"codes {tuple(codes.shape)} need scale and zero of [out, in / {GROUP}], "
                             f"got {tuple(scale.shape)} and {tuple(zero.shape)}")  # fmt: skip
        return cls(codes, scale, zero, bias, inputs)

    def product(self, rows: Tensor) -> Tensor:
        """Rows [n, in] f32 or bf16 through `packed`, without the bias: f32 [n, out]."""
        out: Tensor = self._product(int4.put(rows), int4.whole_route(len(rows)))
        return out[:, : self.out_features]

    def forward(self, x: Tensor) -> Tensor:
        """See PackedLinear."""
        rows = self._rows(x)
        if not len(rows):
            return x.new_empty(*x.shape[:-1], self.out_features)
        if self.packed is not None:
            out = self.product(rows if rows.dtype == torch.bfloat16 else rows.float())
        else:
            rows = F.pad(rows.to(torch.bfloat16), (0, self._more_columns))
            out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self._codes, GROUP, self._scales)
            out = out[:, : self.out_features]
        if self.bias is not None:
            out = out + self.bias
        return out.to(x.dtype).reshape(*x.shape[:-1], self.out_features)


class MixedLinear(PackedLinear):
    """Two forms of one weight: `few` below `crossover` rows, `many` from there on; the memory of both."""

    def __init__(self, few: PackedLinear, many: PackedLinear, crossover: int) -> None:
        super().__init__(f"{few.form}+{many.form}", few.in_features, few.out_features,
                         few.weight_bytes + many.weight_bytes)  # fmt: skip
        self.few, self.many, self.crossover = few, many, crossover

    def at(self, rows: int) -> PackedLinear:
        """The form for so many rows."""
        return self.few if rows < self.crossover else self.many

    def forward(self, x: Tensor) -> Tensor:
        """See PackedLinear."""
        out: Tensor = self.at(x.numel() // self.in_features)(x)
        return out


class EmbeddingInt8(torch.nn.Module):  # type: ignore[misc]
    """A table of int8 rows with a scale each, half the bytes of bf16: ids [...] -> [..., width] in `dtype`."""

    def __init__(self, q: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.q, self.scale, self.dtype = q, scale, dtype

    @classmethod
    def of(cls, table: Tensor) -> "EmbeddingInt8":
        """From a table [vocab, width] in any float dtype, which the rows come back in."""
        return cls(*quantize_int8(table.detach()), table.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up rows."""
        rows = F.embedding(ids, self.q).float()
        return rows.mul_(F.embedding(ids, self.scale[:, None])).to(self.dtype)


def pack(
    weight: Tensor | Weight,
    bias: Tensor | None,
    form: str,
    *,
    rotated: bool = False,
    device: str | torch.device | None = None,
) -> PackedLinear:
    """The layer on `device` (default: the weight's) for a weight [out, in] in any float dtype, a bias [out] or None.

    A `Weight` is read here; what its file holds in groups of 4 bits becomes int4 without being rounded again.

    Neither is kept. With `rotated` an int8 layer rotates its inputs, which costs next to nothing and saves most of
    what int8 loses (bench/int8_quality.py); code that calls `Int8Linear.product` must then rotate, too. On an
    accelerator activations are not rounded, and nothing is rotated. Raises SettingsError for a form that cannot run.
    """
    place = torch.device(device or (weight.device if isinstance(weight, Tensor) else "cpu"))
    on_device = place.type != "cpu"
    with torch.no_grad():
        if isinstance(weight, Weight):
            if form == "int4" and weight.grouped and (on_device or supported("int4")):
                groups = weight.groups()
                if on_device:
                    codes, scale, zero = (x.to(place) for x in (groups.codes, groups.scale, groups.zero))
                    return Int4Weight(codes, scale, zero, bias, weight.shape[1])
                return Int4Linear.from_groups(groups.codes, groups.scale, groups.zero, bias)
            weight = weight.dense()
        if form in _DTYPES:
            return DenseLinear(weight.to(place), bias, form)
        if form not in FORMS:
            raise SettingsError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        if on_device:
            return _weight_only(weight.detach(), bias, form, place)
        if form == "int8":
            block = rotation_block(weight.shape[1]) if rotated else 1
            q, scale = quantize_int8(weight.detach(), int8_kernel().levels, block)
            return Int8Linear(q, scale, bias, block)
        if not supported("int4"):
            raise SettingsError("precision int4 needs torch's 4-bit products for CPUs, which this build lacks; "
                                "use --precision int8 or bf16")  # fmt: skip
        padded = F.pad(weight.detach(), (0, -weight.shape[1] % GROUP))
        return Int4Linear(*quantize_int4(padded), bias, weight.shape[1])


def _weight_only(weight: Tensor, bias: Tensor | None, form: str, device: torch.device) -> PackedLinear:
    """An int8 or int4 layer on an accelerator, rounded where the weight is."""
    if form == "int8":
        q, scale = quantize_int8(weight)
        return Int8Weight(q.to(device), scale.to(device), bias)
    codes, scale, zero = quantize_int4(F.pad(weight, (0, -weight.shape[1] % GROUP)))
    return Int4Weight(codes.to(device), scale.to(device), zero.to(device), bias, weight.shape[1])
