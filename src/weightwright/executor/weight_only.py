"""int8 and int4 linear layers on an accelerator: packed weights stay there, activations keep their precision.

Two forms. Torch's own products (`_weight_int8pack_mm`, `_weight_int4pack_mm`) read packed weights as they are; a
device has them where a small product comes out right, which is tried once, never assumed. Elsewhere a part of a layer
at a time is dequantised into the activations' dtype and multiplied by the device's ordinary product, which every
device has. Neither waits for the device.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwright.executor.packed import PackedLinear
from weightwright.plan.measured import DEQUANTISED_WEIGHTS
from weightwright.weights.quantize import GROUP, INT4_MIDDLE

# torch's int8 product reads the weights once a row, so it is for few of them; not measured on a device
_OWN_ROWS = 16
# sizes that all devices' kernels take, and those that were tried; others are dequantised
_OWN_OUTPUTS, _OWN_INPUTS = 64, 128
_INNER_TILES = 8  # of 16 inputs, that the int4 product lays together
_PROBE_SHAPE, _PROBE_ROWS, _TOLERANCE = (128, 256), (1, 3, 40), 0.02
_WHAT_DEVICES_RAISE = (RuntimeError, NotImplementedError, AttributeError, TypeError, ValueError)


class Int8Weight(PackedLinear):
    """int8 weights, one scale an output channel: x · (q · scale)^T.

    From q [out, in] int8 and scale [out] f32, whose device is the layer's; bias [out] or None.
    """

    def __init__(self, q: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        outputs, inputs = q.shape
        super().__init__("int8", inputs, outputs, q.numel() + 4 * outputs)
        self.q = q.contiguous()
        self.scale = scale.to(torch.float32)
        self.bias = None if bias is None else bias.detach().to(q.device, torch.float32, copy=True)
        whole = inputs % _OWN_INPUTS == 0 and outputs % _OWN_OUTPUTS == 0
        self.own = whole and own_int8(str(q.device))

    def forward(self, x: Tensor) -> Tensor:
        """See PackedLinear."""
        rows = self._rows(x)
        if not len(rows):
            return x.new_empty(*x.shape[:-1], self.out_features)
        if self.own and rows.dtype == torch.bfloat16 and len(rows) <= _OWN_ROWS:
            # the scales apart, as f32: the product would take them in the activations' dtype
            ones = rows.new_ones(self.out_features)
            out = torch.ops.aten._weight_int8pack_mm(rows, self.q, ones) * self.scale
        else:
            parts = _parts(self.out_features, self.in_features)
            out = _together([F.linear(rows, self.q[part].to(rows.dtype)) for part in parts]) * self.scale
        if self.bias is not None:
            out = out + self.bias
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)


class Int4Weight(PackedLinear):
    """int4 weights in groups of 32 inputs, two to a byte: weight = (code - 8) · scale + zero.

    From codes uint8 [out, in] of 0..15, scale and zero [out, in / 32] (held in bf16); `in` is padded with zeros to a
    multiple of 32, of which `in_features` count.
    """

    def __init__(
        self, codes: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None, in_features: int
    ) -> None:
        super().__init__("int4", in_features, len(codes), codes.numel() // 2 + 4 * scale.numel())
        self._more_columns = codes.shape[1] - in_features
        self.bias = None if bias is None else bias.detach().to(codes.device, torch.float32, copy=True)
        self.scale, self.zero = scale.bfloat16(), zero.bfloat16()
        self._product = own_int4_product(codes, self.scale, self.zero)
        self.codes = codes[:, ::2] | codes[:, 1::2] << 4
        if self._product is not None:  # which has all of it in a layout of its own
            self.codes, self.scale, self.zero = (part.new_empty(0) for part in (codes, scale, zero))

    def forward(self, x: Tensor) -> Tensor:
        """See PackedLinear."""
        rows = self._rows(x)
        if not len(rows):
            return x.new_empty(*x.shape[:-1], self.out_features)
        if self._more_columns:
            rows = F.pad(rows, (0, self._more_columns))
        if self._product is not None:
            out = self._product(rows.bfloat16())
        else:
            parts = _parts(self.out_features, rows.shape[-1])
            out = _together([F.linear(rows, self._dense(part, rows.dtype)) for part in parts])
        if self.bias is not None:
            out = out.float() + self.bias
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _dense(self, part: slice, dtype: torch.dtype) -> Tensor:
        """The weights of some output channels, [channels, in]."""
        packed = self.codes[part]
        codes = torch.stack((packed & 15, packed >> 4), -1).flatten(1).to(dtype) - INT4_MIDDLE
        groups = codes.unflatten(1, (-1, GROUP))
        scale, zero = (x[part].unsqueeze(-1).to(dtype) for x in (self.scale, self.zero))
        return torch.addcmul(zero, groups, scale).flatten(1)


def _parts(outputs: int, inputs: int) -> list[slice]:
    """The output channels in parts that have DEQUANTISED_WEIGHTS weights at most, or one channel."""
    step = max(1, DEQUANTISED_WEIGHTS // inputs)
    return [slice(start, min(start + step, outputs)) for start in range(0, outputs, step)]


def _together(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


@functools.cache
def own_int8(device: str) -> bool:
    """Whether this torch multiplies int8 weights on the device, and rightly."""
    outputs, inputs = _PROBE_SHAPE
    draw = torch.Generator().manual_seed(0)
    q = torch.randint(-127, 128, (outputs, inputs), generator=draw, dtype=torch.int8)
    scale = torch.rand(outputs, generator=draw).add_(0.5).bfloat16()

    def product(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.aten._weight_int8pack_mm(x.to(device), q.to(device), scale.to(device))
        return out

    return _right(product, q.double() * scale.double()[:, None])


def own_int4_product(codes: Tensor, scale: Tensor, zero: Tensor) -> "Callable[[Tensor], Tensor] | None":
    """Torch's product of bf16 rows with these weights on their device; None where it has none of that shape."""
    outputs, inputs = codes.shape
    if outputs % _OWN_OUTPUTS or inputs % _OWN_INPUTS:
        return None
    layout = _int4_layout(str(codes.device))
    return None if layout is None else _int4_product(layout, codes, scale, zero)


# how codes are handed to `_convert_weight_to_int4pack`, which has changed with releases and differs between devices
_LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "the first of two high": lambda codes: codes[:, ::2] << 4 | codes[:, 1::2],
    "the first of two low": lambda codes: codes[:, ::2] | codes[:, 1::2] << 4,
    "one to an int32": lambda codes: codes.int(),
}


@functools.cache
def _int4_layout(device: str) -> str | None:
    """The layout in which this torch multiplies int4 weights rightly on the device; None where in none."""
    outputs, inputs = _PROBE_SHAPE
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (outputs, inputs), generator=draw, dtype=torch.uint8)
    scale, zero = (torch.rand(outputs, inputs // GROUP, generator=draw).bfloat16() for _ in range(2))
    groups = codes.double().unflatten(1, (-1, GROUP)) - INT4_MIDDLE
    dense = torch.addcmul(zero.double()[..., None], groups, scale.double()[..., None]).flatten(1)
    there = [part.to(device) for part in (codes, scale, zero)]

    def right(layout: str) -> bool:
        return _right(lambda x: _int4_product(layout, *there)(x.to(device)), dense)

    return next((layout for layout in _LAYOUTS if right(layout)), None)


def _int4_product(layout: str, codes: Tensor, scale: Tensor, zero: Tensor) -> Callable[[Tensor], Tensor]:
    """Raises what the device raises."""
    packed = torch.ops.aten._convert_weight_to_int4pack(_LAYOUTS[layout](codes).contiguous(), _INNER_TILES)
    scales = torch.stack((scale, zero), -1).transpose(0, 1).contiguous()

    def product(rows: Tensor) -> Tensor:
        out: Tensor = torch.ops.aten._weight_int4pack_mm(rows, packed, GROUP, scales)
        return out

    return product


def _right(product: Callable[[Tensor], Tensor], weight: Tensor) -> bool:
    """Whether a product with a weight [out, in] f64 runs and gives what it should, for one row and for several.

    Kernels for one row are others than those for many, and have been wrong alone
    (github.com/intel/torch-xpu-ops/pull/5001).
    """
    for rows in _PROBE_ROWS:
        x = torch.randn(rows, weight.shape[1], generator=torch.Generator().manual_seed(rows)).bfloat16()
        exact = x.double() @ weight.t()
        try:
            off = (product(x).cpu().double() - exact).norm() / exact.norm()
        except _WHAT_DEVICES_RAISE:
            return False
        if not off < _TOLERANCE:  # nor where it is no number
            return False
    return True
