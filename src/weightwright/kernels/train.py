"""The element-wise work of a training step on the CPU, as single passes over each row."""

import functools
from typing import TYPE_CHECKING

from weightwright.kernels.elementwise import Rows, Stored, empty_rows, kind_of
from weightwright.kernels.pool import Kernel, available, bits, kept, threads

if TYPE_CHECKING:
    from torch import Tensor


@functools.cache
def _kernel(name: str) -> Kernel:
    with kept():
        from weightwright.kernels import train_numba

    return Kernel(getattr(train_numba, name))


def runs_on(x: "Tensor") -> bool:
    """Whether these kernels take numbers like x: f32 or bf16 on the CPU, and numba is here."""
    return x.device.type == "cpu" and str(x.dtype) in {"torch.float32", "torch.bfloat16"} and available()


def softmax_gradient(logits: "Tensor", targets: "Tensor", *, wanted: bool) -> "Tensor":
    """Logarithms of the sums of exponentials f32 [n] of logits [n, vocabulary].

    Where `wanted`, the logits turn into softmax - one-hot(targets [n] i64) in place.
    """
    import torch

    sums = torch.empty(len(logits), dtype=torch.float32)
    _kernel("softmax_gradient")(threads(), *_shape(logits), *_at(logits, targets, sums), wanted)
    return sums


def gated(gate: "Tensor", up: "Tensor", activation: int) -> "Tensor":
    """Activation(gate) x up, all [n, width]; `activation` as in `rows.ACTIVATIONS`."""
    import torch

    out = torch.empty_like(gate)
    _kernel("gated")(threads(), *_shape(gate), activation, *_at(gate, up, out))
    return out


def gated_gradients(
    gate: "Tensor", up: "Tensor", grad: "Tensor", activation: int, *, in_place: bool = False
) -> "tuple[Tensor, Tensor]":
    """What `gated`'s gradient [n, width] means for gate and up; `grad` is overwritten by the product itself.

    `in_place` overwrites gate and up as well.
    """
    import torch

    found = (gate, up) if in_place else (torch.empty_like(gate), torch.empty_like(up))
    _kernel("gated_gradients")(threads(), *_shape(gate), activation, *_at(gate, up, grad, *found))
    return found


def norm(x: "Tensor", weight: "Tensor", eps: float) -> "Tensor":
    """RMS norm of rows x [n, width] with weight f32 [width] (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4)."""
    import torch

    out = torch.empty_like(x)
    _kernel("norm")(threads(), *_shape(x), *_at(x, weight), bits(eps), *_at(out))
    return out


def norm_gradient(x: "Tensor", weight: "Tensor", eps: float, grad: "Tensor") -> "Tensor":
    """The gradient of `norm`'s x, [n, width]."""
    import torch

    out = torch.empty_like(x)
    _kernel("norm_gradient")(threads(), *_shape(x), *_at(x, weight), bits(eps), *_at(grad, out))
    return out


def rotate(x: "Tensor", cos: "Tensor", sin: "Tensor", *, back: bool = False) -> None:
    """Rotary position embedding of heads x [n, heads, width], in place, by cos and sin [n, width] in x's dtype.

    The halves of a head are the two coordinates (Su et al. 2021, arXiv 2104.09864, eq. 34, in the order of GPT-NeoX);
    `back` turns a gradient.
    """
    n, heads, width = x.shape
    _kernel("rotate")(threads(), n, width, kind_of(x.dtype), heads, *_at(x, cos, sin), back)


def codes(x: "Tensor", stored: Stored) -> Rows:
    """Rows x [n, width] in 8 bits as `stored`, with a scale each, as `quantize.quantize_rows` makes them.

    A row with a number that is not finite has NaN for a scale.
    """
    n, width = x.shape
    out = empty_rows(n, width, stored.dtype)
    assert out.scales is not None
    _kernel("codes")(
        threads(), *_shape(x), *_at(x), kind_of(stored.dtype), *_at(out.data, out.scales), stored.block
    )
    return out


def scale_rows(x: "Tensor", scales: "Tensor") -> None:
    """Multiply rows x [n, width] by `scales` [n] f32, in place."""
    _kernel("scale_rows")(threads(), *_shape(x), *_at(x, scales))


def _shape(x: "Tensor") -> tuple[int, int, int]:
    n, width = x.shape
    return n, width, kind_of(x.dtype)


def _at(*tensors: "Tensor") -> tuple[int, ...]:
    assert all(tensor.is_contiguous() for tensor in tensors), "rows must lie one behind the other"
    return tuple(tensor.data_ptr() for tensor in tensors)
