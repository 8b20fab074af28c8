"""DoRA at serving time: what a trained magnitude makes of the rows of a base weight (arXiv 2402.09353, §4).

The rows of weight + scale·B·A are put to the length `magnitude`, so a layer's output is
y + gain · (y - bias) + (1 + gain) · scale · B·A·x with gain = magnitude / length - 1. Only the lengths need the base
weight, once, at load.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from weightwright.weights.adapter import LoraWeights

_BLOCK = 256  # inputs at a time
_TINY = torch.finfo(torch.float32).tiny ** 0.5
_UNIT = 2.0**20  # so large that a bias beside the products costs them no digits


def lengths(
    layer: Callable[[Tensor], Tensor], bias: Tensor, firsts: Sequence[int], weights: Sequence[LoraWeights]
) -> list[Tensor]:
    """The length [out] f32 of each row of weight + scale·B·A, of each of a layer's modules.

    `layer` makes [n, in] to [n, all outputs], of which `bias` [all outputs], in the type that it takes; `firsts` says
    where each module's outputs begin. The weight is read from what the layer makes of unit vectors, so it may be
    packed or quantised in any way.
    """
    inputs = weights[0].a.shape[1]
    pairs = [[tensor.to(bias.device, torch.float32) for tensor in (one.a, one.b)] for one in weights]
    squares = [torch.zeros(len(b), device=bias.device) for _, b in pairs]
    for start in range(0, inputs, _BLOCK):
        units = torch.zeros(min(_BLOCK, inputs - start), inputs, dtype=bias.dtype, device=bias.device)
        units[:, start : start + _BLOCK].fill_diagonal_(_UNIT)
        columns = (layer(units).float() - bias.float()) / _UNIT  # [block, all outputs]
        for square, first, one, (a, b) in zip(squares, firsts, weights, pairs, strict=True):
            added = one.scale * a[:, start : start + _BLOCK].t() @ b.t()
            square.add_((columns[:, first : first + len(b)] + added).square().sum(0))
    return [square.sqrt() for square in squares]


def gain(magnitude: Tensor, length: Tensor) -> Tensor:
    """What a row of this length is stretched by to have the magnitude, less 1; both [out] -> [out] f32."""
    return magnitude.to(length.device, torch.float32) / length.clamp(min=_TINY) - 1


def apply_(y: Tensor, rows: Tensor, gain: Tensor, bias: Tensor | None) -> None:
    """Y [n, out] += gain [rows, out] f32 · (y - bias) in its `rows`; `bias` is None where y lacks it yet."""
    chosen = y.index_select(0, rows).float()
    chosen.addcmul_(chosen if bias is None else chosen - bias, gain)
    y.index_copy_(0, rows, chosen.to(y.dtype))
