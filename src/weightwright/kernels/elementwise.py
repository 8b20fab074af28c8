"""The element-wise work between two matrix products of a decoder layer, as single passes over each row."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from weightwright.kernels.pool import Kernel, bits, kept, threads

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {"torch.float32": 0, "torch.bfloat16": 1, "torch.int8": 2, "torch.uint8": 3}
ACTIVATIONS = {"silu": 0, "gelu_tanh": 1}
_FEW = 8  # rows that are not padded
_STEPS = ((256, 16), (512, 32), (2048, 64))  # up to so many rows they are padded to a multiple


class Rows(NamedTuple):
    """Rows of numbers [n, width]; `scales` [n] f32 where each row still has to be multiplied by its own."""

    data: "Tensor"
    scales: "Tensor | None" = None

    def part(self, rows: slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.data[rows], None if self.scales is None else self.scales[rows])


class Stored(NamedTuple):
    """How rows are to be stored: `dtype`, and for int8 how many neighbours are rotated together (1: none)."""

    dtype: Any
    block: int = 1


@functools.cache
def _kernel(name: str) -> Kernel:
    with kept():
        from weightwright.kernels import elementwise_numba

    return Kernel(getattr(elementwise_numba, name))


def kind_of(dtype: Any) -> int:
    """The kernels' number for a dtype."""
    return KINDS[str(dtype)]


BLOCKS = (1, 16, 32, 64)  # neighbours that can be rotated together


def padded_rows(n: int) -> int:
    """How many rows a product of `n` is made with, some of them of no meaning: few different numbers.

    oneDNN makes a program for each number of rows, which takes longer than the product and half a megabyte.
    """
    if n <= _FEW:
        return n
    step = next((step for limit, step in _STEPS if n <= limit), _STEPS[-1][1])
    return -(-n // step) * step


def padded(x: "Tensor") -> "Tensor":
    """Rows x [n, in] with more rows of whatever lies behind them, or of zeros: [padded_rows(n), in]."""
    n, width = x.shape
    more = padded_rows(n)
    if (x.storage_offset() + more * width) * x.itemsize <= x.untyped_storage().nbytes():
        return x.as_strided((more, width), (width, 1))
    import torch

    return torch.nn.functional.pad(x, (0, 0, 0, more - n))


def empty_rows(n: int, width: int, dtype: Any) -> Rows:
    """Room for rows of `dtype`, with the room that a product needs behind them; int8 and uint8 get scales."""
    import torch

    scales = torch.empty(n) if dtype in {torch.int8, torch.uint8} else None
    return Rows(torch.empty(padded_rows(n), width, dtype=dtype)[:n], scales)


def add_norm(
    hidden: "Tensor", y: Rows | None, bias: "Tensor | None", weight: "Tensor", eps: float, stored: Stored,
    copy: "Tensor | None" = None,
) -> Rows:  # fmt: skip
    """Hidden [n, width] f32 += y + bias, in place; the RMS norm of it with `weight` as rows as `stored`.

    `copy` [n, width] (f32 or bf16) takes the same without quantisation, for adapters.
    """
    n, width = hidden.shape
    out = empty_rows(n, width, stored.dtype)
    _kernel("add_norm")(
        threads() if n > 1 else 1, n, width, hidden.data_ptr(), *source(y), _at(bias), weight.data_ptr(),
        bits(eps), *target(out, stored), *_copy(copy),
    )  # fmt: skip
    return out


def gate(
    x: Rows, bias: "Tensor | None", activation: int, stored: Stored, copy: "Tensor | None" = None
) -> Rows:
    """X [n, 2 width] = gate | up: activation(gate + bias) x (up + bias) as rows [n, width]."""
    n, width = x.data.shape[0], x.data.shape[1] // 2
    out = empty_rows(n, width, stored.dtype)
    _kernel("gate")(
        threads() if n > 1 else 1,
        n,
        width,
        *source(x),
        _at(bias),
        activation,
        *target(out, stored),
        *_copy(copy),
    )
    return out


def put(x: "Tensor", stored: Stored, copy: "Tensor | None" = None) -> Rows:
    """Rows x [n, width] f32 as `stored`; with a rotation x is overwritten."""
    n, width = x.shape
    out = empty_rows(n, width, stored.dtype)
    _kernel("put")(threads() if n > 1 else 1, n, width, x.data_ptr(), *target(out, stored), *_copy(copy))
    return out


def rope(
    x: Rows, bias: "Tensor | None", cos: "Tensor", sin: "Tensor", heads: int, kv_heads: int, width: int, *,
    norms: "tuple[Tensor | None, Tensor | None]", eps: float, scale: float, slots: "Tensor",
    pages: "tuple[Tensor, Tensor, Tensor | None, Tensor | None]", fresh: "tuple[Tensor, Tensor] | None",
) -> "Tensor":  # fmt: skip
    """X [n, (heads + 2 kv_heads) width] = q | k | v: queries [n, heads, width] f32, normed, rotated and scaled.

    Keys (normed and rotated) and values go into `slots` [n] i64 of one layer's `pages` (keys, values and their
    scales), and into `fresh` [n, kv_heads, width] where given. cos and sin are [n, rotary width] f32.
    """
    import torch

    n = x.data.shape[0]
    queries = torch.empty(n, heads, width)
    keys, values, key_scales, value_scales = pages
    fresh_keys, fresh_values = fresh or (None, None)
    _kernel("rope")(
        threads() if n > 1 else 1, n, heads, kv_heads, width, cos.shape[-1] // 2, *source(x), _at(bias),
        cos.data_ptr(), sin.data_ptr(), _at(norms[0]), _at(norms[1]), bits(eps), bits(scale), queries.data_ptr(),
        slots.data_ptr(), kind_of(keys.dtype), keys.data_ptr(), values.data_ptr(), _at(key_scales),
        _at(value_scales), 0 if fresh_keys is None else kind_of(fresh_keys.dtype), _at(fresh_keys),
        _at(fresh_values), 0,
    )  # fmt: skip
    return queries


def _at(tensor: "Tensor | None") -> int:
    return 0 if tensor is None else tensor.data_ptr()


def source(x: Rows | None) -> tuple[int, int, int]:
    """Rows as kernels take them: address, kind, address of the scales."""
    if x is None:
        return 0, 0, 0
    return x.data.data_ptr(), kind_of(x.data.dtype), _at(x.scales)


def target(x: Rows, stored: Stored) -> tuple[int, int, int, int]:
    """Where kernels are to put rows: kind, address, address of the scales, neighbours that are rotated together."""
    assert stored.block in BLOCKS, f"blocks of {stored.block} are not rotated here"
    return kind_of(x.data.dtype), x.data.data_ptr(), _at(x.scales), stored.block


def _copy(copy: "Tensor | None") -> tuple[int, int]:
    return (0, 0) if copy is None else (kind_of(copy.dtype), copy.data_ptr())
