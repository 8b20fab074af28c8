"""int4 products of one weight or of several at once: rows in signed bytes with a scale for each 32 inputs.

The kernels need AVX512-VNNI; whether they run here, and are exact, is tried on a small product first.
"""

import functools
import logging
from typing import TYPE_CHECKING

from weightwright.kernels import pool
from weightwright.kernels.elementwise import kind_of
from weightwright.kernels.pool import Kernel, kept, threads
from weightwright.kernels.route import Route
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

log = logging.getLogger(__name__)

OUTPUTS = 16  # of a block of a weight
GROUP = 32  # inputs that share a scale
_FACTORS, _CODES, _SCALES, _EXTRA = (
    8 * OUTPUTS,
    GROUP // 2 * OUTPUTS,
    2 * OUTPUTS,
    12,
)  # bytes, see int4_numba


class Packed:
    """One weight [outputs, inputs] in 4 bits, as the kernels read it: (code - 8) · scale + zero.

    From codes u8 [outputs, inputs] of 0..15, scale and zero [outputs, inputs / 32] in any float;
    outputs are a multiple of 16. Scales are held in 8 bits, as parts of 255 of the row's largest, zeros in parts of
    127 (see `factors`).
    """

    def __init__(self, codes: "Tensor", scale: "Tensor", zero: "Tensor") -> None:
        import torch

        outputs, inputs = codes.shape
        groups = scale.shape[1]
        if outputs % OUTPUTS or groups * GROUP != inputs:
            raise ValueError(f"codes {tuple(codes.shape)} with {groups} groups cannot be packed")
        self.outputs, self.inputs, self.groups = outputs, inputs, groups
        codes, scale, zero = _upright(codes, scale.float(), zero.float())
        blocks, half = outputs // OUTPUTS, GROUP // 2
        lines = codes.view(blocks, OUTPUTS, groups, 2, half // 4, 4).permute(3, 0, 2, 4, 1, 5)
        both = (lines[0] | lines[1] << 4).reshape(blocks, groups * _CODES)
        (scales, of_scales), (zeros, of_zeros) = factors(scale, 255), factors(zero, 127)
        each = torch.stack((scales.to(torch.uint8), zeros.to(torch.int8).view(torch.uint8)), 1)
        each = each.view(blocks, OUTPUTS, 2, groups).permute(0, 3, 2, 1).reshape(blocks, groups * _SCALES)
        whole = (
            torch.stack((of_scales, of_zeros), 1).view(blocks, OUTPUTS, 2).transpose(1, 2).reshape(blocks, -1)
        )
        size = _FACTORS + groups * (_CODES + _SCALES)
        room = torch.zeros(blocks, -size % 64, dtype=torch.uint8)
        self.data = torch.cat([whole.contiguous().view(torch.uint8), both, each, room], 1)

    @property
    def nbytes(self) -> int:
        """Memory of codes, scales and zeros."""
        return int(self.data.nbytes)


def _upright(codes: "Tensor", scale: "Tensor", zero: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
    """The same weight with no scale below 0, as GGUF's Q4_0 has them: codes counted from the other end."""
    import torch

    down = scale < 0
    if not down.any():
        return codes, scale, zero
    codes = torch.where(down.repeat_interleave(GROUP, 1), 15 - codes, codes)
    return (
        codes,
        scale.abs(),
        torch.where(down, zero - scale, zero),
    )  # 15 - code is one step short of 16 - code


def factors(parts: "Tensor", levels: int) -> "tuple[Tensor, Tensor]":
    """Rows [n, groups] as whole numbers of magnitude at most `levels`, f32, times a factor a row [n, 1]."""
    parts = parts.float()
    largest = parts.abs().amax(1, keepdim=True)
    factor = (largest / levels).masked_fill_(largest == 0, 1.0)
    return (parts / factor).round_(), factor


def put(x: "Tensor") -> "Tensor":
    """Rows x [n, width] f32 or bf16, each 32 inputs in signed bytes with a scale of their own."""
    n, width = x.shape
    out = _empty(n, width)
    _kernel("put")(threads() if n > 1 else 1, n, width, width + -width % GROUP, kind_of(x.dtype), x.data_ptr(),
                   out.data_ptr())  # fmt: skip
    return out


def gate(x: "Tensor", activation: int) -> "Tensor":
    """Of x [n, 2 width] f32 = gate | up: activation(gate) x up, as `put` gives it."""
    n, width = x.shape[0], x.shape[1] // 2
    out = _empty(n, width)
    _kernel("gate")(threads() if n > 1 else 1, n, width, width + -width % GROUP, x.data_ptr(), activation,
                    out.data_ptr())  # fmt: skip
    return out


class Several:
    """Several weights of one shape, each for its own rows."""

    def __init__(self, weights: "Sequence[Packed]") -> None:
        import torch

        self._weights = list(weights)  # they own the memory
        self._table = torch.tensor([weight.data.data_ptr() for weight in weights])

    def __call__(self, x: "Tensor", route: Route, share: int = 1) -> "Tensor":
        """Rows, as `put` makes them, through the weights that a route names: f32 [rows of the route, outputs].

        Row i of the result is row i // share of x times its weight.
        """
        import torch

        first, rows = self._weights[0], len(route.order)
        out = torch.empty(rows, first.outputs)
        _kernel("product")(
            threads(), len(self._weights), first.groups, len(first.data), first.data.shape[1],
            self._table.data_ptr(), route.starts.data_ptr(), route.order.data_ptr(), x.data_ptr(), x.shape[1], share,
            out.data_ptr(), 4 * first.outputs, route.active.data_ptr(),
        )  # fmt: skip
        return out


@functools.cache  # recorded passes read them again
def whole_route(rows: int) -> Route:
    """All rows through one weight."""
    import torch

    return Route.of(torch.zeros(rows, dtype=torch.int64), 1)


@functools.cache
def supported() -> bool:
    """Whether the kernels run here and give what exact arithmetic does."""
    if not pool.available() or "avx512_vnni" not in features():
        return False
    import torch

    outputs, inputs, rows = 3 * OUTPUTS, 128, 15
    codes = (torch.arange(outputs * inputs).view(outputs, inputs) * 7 % 16).to(torch.uint8)
    scale = (torch.arange(outputs * inputs // GROUP).view(outputs, -1) % 4 + 1.0) * 255 / 8
    zero = (torch.arange(outputs * inputs // GROUP).view(outputs, -1) % 3 - 1.0) * 127
    scale[:, 0], zero[:, 0] = 255, 127  # the largest, so that none is rounded
    x = (torch.arange(rows * inputs).view(rows, inputs) * 29 % 255 - 127).float()
    x[:, ::GROUP] = 127  # so that codes are the numbers themselves
    scale, zero = scale.round(), zero.round()
    weight = (codes.double() - 8) * scale.repeat_interleave(GROUP, 1) + zero.repeat_interleave(GROUP, 1)
    exact = x.double() @ weight.T
    got = Several([Packed(codes, scale, zero)])(put(x), whole_route(rows)).double()
    if torch.allclose(got, exact, rtol=0, atol=1e-5 * float(exact.abs().max())):
        return True
    log.info("int4 products by groups are not exact here: torch's are used")
    return False


def _empty(n: int, width: int) -> "Tensor":
    import torch

    padded = width + -width % GROUP
    return torch.empty(n, padded + padded // GROUP * _EXTRA, dtype=torch.uint8)


@functools.cache
def _kernel(name: str) -> Kernel:
    with kept():
        from weightwright.kernels import int4_numba

    return Kernel(getattr(int4_numba, name))
