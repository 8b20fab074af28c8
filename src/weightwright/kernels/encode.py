"""The work between the matrix products of an encoder's layer (BERT's kind): texts without padding, both ways."""

import functools
from typing import TYPE_CHECKING, Any

from weightwright.kernels import pool
from weightwright.kernels.elementwise import Rows, Stored, empty_rows, source, target
from weightwright.kernels.pool import Kernel, bits, kept, threads
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from torch import Tensor

_ROWS, _FEW_ROWS = (
    8,
    2,
)  # queries at a time: what the sums of a pass need of AVX512's registers, and of AVX2's


@functools.cache
def _kernel(name: str) -> Kernel:
    with kept():
        from weightwright.kernels import encode_numba

    return Kernel(getattr(encode_numba, name))


@functools.cache
def _attention(width: int) -> Kernel:
    with kept():
        from weightwright.kernels.encode_numba import build

        known = features()
        return Kernel(build(width, "avx512_bf16" in known, _ROWS if "avx512f" in known else _FEW_ROWS))


def supported(width: int) -> bool:
    """Whether these kernels run here, for heads of `width` numbers."""
    return width % 16 == 0 and pool.available()


def attend(x: Rows, bias: "Tensor", starts: "Tensor", longest: int, heads: int) -> "Tensor":
    """Attention of texts: x [tokens, 3 heads width] = q | k | v, a bias of as many -> [tokens, heads width] f32.

    Text i is tokens starts[i] to starts[i + 1]; `starts` [texts + 1] i64, `longest` the most tokens of a text. Each
    token attends to all of its text (arXiv 1706.03762, §3.2.1).
    """
    import torch

    n, width = x.data.shape[0], x.data.shape[1] // (3 * heads)
    texts = len(starts) - 1
    out = torch.empty(n, heads * width)
    _attention(width)(
        threads() if texts * heads > 1 else 1, starts.data_ptr(), texts, longest, heads, *source(x),
        bias.data_ptr(), out.data_ptr(), bits(width**-0.5),
    )  # fmt: skip
    return out


def gelu(x: Rows, bias: "Tensor", stored: Stored) -> Rows:
    """X [n, width] + bias times the normal distribution's share below it (arXiv 1606.08415), as rows [n, width]."""
    n, width = x.data.shape
    out = empty_rows(n, width, stored.dtype)
    _kernel("gelu")(_threads(n), n, width, *source(x), bias.data_ptr(), *target(out, stored))
    return out


def add_norm(
    hidden: "Tensor", y: Rows, bias: "Tensor", norm: "tuple[Tensor, Tensor]", eps: float, stored: Stored
) -> Rows:
    """Hidden [n, width] f32 = the layer norm (weight, bias) of hidden + y + bias, in place, and as rows."""
    n, width = hidden.shape
    out = empty_rows(n, width, stored.dtype)
    _kernel("add_norm")(
        _threads(n), n, width, hidden.data_ptr(), *source(y), bias.data_ptr(), norm[0].data_ptr(),
        norm[1].data_ptr(), bits(eps), *target(out, stored),
    )  # fmt: skip
    return out


def _threads(rows: int) -> Any:
    return threads() if rows > 1 else 1
