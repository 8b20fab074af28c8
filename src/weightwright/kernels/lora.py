"""What LoRA adapters add to the rows of a product, in one pass and without a copy: each row with its own adapter."""

import functools
from typing import TYPE_CHECKING

from weightwright.kernels.elementwise import kind_of
from weightwright.kernels.pool import Kernel, kept, threads
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 4  # of one adapter that are best taken together
PADDING = 16  # numbers behind the matrices that the kernel may read, in 32 bits each


@functools.cache
def _kernel(form: int) -> Kernel:
    with kept():
        from weightwright.kernels.lora_numba import build

        return Kernel(build(form))


@functools.cache
def _form(together: int) -> int:
    with kept():
        from weightwright.kernels.tiles import DOTS, HALVES, WHOLE

    if together == 1:
        return WHOLE
    return DOTS if "avx512_bf16" in features() else HALVES


def add(
    y: "Tensor", x: "Tensor", down: "Tensor", up: "Tensor", layout: "Tensor",
    groups: "tuple[Tensor, Tensor, Tensor]", scales: "Tensor | None", bias: "Tensor | None",
) -> None:  # fmt: skip
    """Y [n, out] = y x scales [n] + bias [out] + B (A x) for x [n, in]; y and x are f32 or bf16.

    `down` is [slots, in / t, parts, rank, t], `up` [slots, chunks, rank / t, chunk, t]: f32 with t = 1 or bf16 with
    t = 2, and PADDING numbers behind them. `layout` [parts, 3] i64 has each part's first output, outputs and first
    chunk. `groups` are up to ROWS rows of one slot each: where each begins [groups + 1] in the order of rows
    [grouped], and the slots [groups], all i64; with slot -1 nothing but scales and bias is applied.
    """
    x = x.contiguous()
    assert y.is_contiguous()
    starts, order, slots = groups
    parts, rank, together = down.shape[2:]
    chunks, chunk = up.shape[1], up.shape[3]
    _kernel(_form(together))(
        threads() if len(slots) > 1 else 1, len(slots), len(order), x.shape[1], y.shape[1], parts, rank, chunk,
        chunks, starts.data_ptr(), order.data_ptr(), slots.data_ptr(), layout.data_ptr(), x.data_ptr(),
        kind_of(x.dtype), y.data_ptr(), kind_of(y.dtype), down.data_ptr(), up.data_ptr(),
        0 if scales is None else scales.data_ptr(), 0 if bias is None else bias.data_ptr(),
    )  # fmt: skip
