"""Rounding weights and activations to few bits: pure functions, no kernel.

int8 weights are symmetric with one scale a row (an output channel), int8 activations symmetric with one scale
a token, chosen anew each time (as in LLM.int8(), arXiv 2208.07339, §2.1, without its outlier columns). int4
weights have a scale and a zero point for each group of 32 inputs.
"""

import torch
from torch import Tensor

INT8_LEVELS = 127
GROUP = 32
INT4_MIDDLE = 8  # the code that stands for a group's zero point
_BLOCK_ELEMENTS = 1 << 18  # weights are converted in blocks that stay in the cache
_SMALLEST = 1e-30  # a row whose largest magnitude is below it counts as zero
# how far a group's range is drawn in: the candidates among which the squared error decides
_SHRINK = (1.0, 0.94, 0.88, 0.82)


def row_scales(x: Tensor, levels: int = INT8_LEVELS) -> Tensor:
    """The scale of each row: x [n, in] any float dtype -> [n, 1] f32, largest magnitude / levels.

    1 for a row of zeros. A row with a NaN or an infinity has a scale that is not finite, and so makes
    outputs that are not: a broken model is not hidden.
    """
    largest = x.abs().amax(-1, keepdim=True).float()
    return largest.div(levels).masked_fill_(largest < _SMALLEST, 1.0)


def quantize_rows(x: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    """Activations to 8 bits, each row by itself: x [n, in] -> xq [n, in], scale [n, 1] f32.

    With offset 0 xq is int8, with 128 it is uint8, and x ≈ (xq - offset) · scale with an error of at most
    half a scale.
    """
    scale = row_scales(x)
    ratio = x.float().div(scale)
    if offset == 0:
        return ratio.round_().to(torch.int8), scale
    return ratio.add_(offset + 0.5).to(torch.uint8), scale  # the cast cuts off, which rounds what is above 0


def quantize_int8(weight: Tensor, levels: int = INT8_LEVELS) -> tuple[Tensor, Tensor]:
    """Weights to 8 bits, each output channel by itself: [out, in] float -> int8 [out, in], scale f32 [out].

    weight ≈ q · scale[:, None] with |q| <= levels. The cost is about one pass over the memory.
    """
    outputs, inputs = weight.shape
    q = torch.empty(outputs, inputs, dtype=torch.int8, device=weight.device)
    scale = torch.empty(outputs, dtype=torch.float32, device=weight.device)
    step = max(1, _BLOCK_ELEMENTS // max(1, inputs))
    for start in range(0, outputs, step):
        block = weight[start : start + step].float()
        scales = row_scales(block, levels)
        scale[start : start + step] = scales[:, 0]
        q[start : start + step] = (block / scales).round_()
    return q, scale


def quantize_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights to 4 bits in groups of 32 inputs: [out, in] any float -> codes, scale, zero.

    codes uint8 [out, in] of 0..15, scale and zero bf16 [out, in / 32]; weight ≈ (code - 8) · scale + zero.
    Of a few ranges narrower than minimum to maximum each group takes that of the least squared error. `in`
    must be a multiple of 32 (`pack` pads).
    """
    outputs, inputs = weight.shape
    codes = torch.empty(outputs, inputs, dtype=torch.uint8)
    scale = torch.empty(outputs, inputs // GROUP, dtype=torch.bfloat16)
    zero = torch.empty_like(scale)
    step = max(1, _BLOCK_ELEMENTS // max(1, inputs))
    for start in range(0, outputs, step):
        block = weight[start : start + step].float().reshape(-1, inputs // GROUP, GROUP)
        found = _best_groups(block)
        codes[start : start + step] = found[0].reshape(-1, inputs)
        scale[start : start + step], zero[start : start + step] = found[1][..., 0], found[2][..., 0]
    return codes, scale, zero


def _best_groups(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [rows, groups, 32] f32, scale and zero [rows, groups, 1] bf16 of the least squared error."""
    low, high = block.amin(-1, keepdim=True), block.amax(-1, keepdim=True)
    middle, half = (low + high) / 2, (high - low) / 2
    best: tuple[Tensor, Tensor, Tensor] | None = None
    least = torch.empty(0)
    for shrink in _SHRINK:
        # as the kernel holds them, so that rounding the scale is seen by the codes
        scale = (half * (2 * shrink / 15)).clamp_min(_SMALLEST).bfloat16()
        zero = (middle + scale.float() / 2).bfloat16()  # codes 0 and 15 lie 7.5 steps from the middle
        codes = ((block - zero.float()) / scale.float() + INT4_MIDDLE).round_().clamp_(0, 15)
        error = (
            (((codes - INT4_MIDDLE) * scale.float() + zero.float()) - block).square().sum(-1, keepdim=True)
        )
        if best is None:
            best, least = (codes, scale, zero), error
        else:
            better = error < least
            best = (torch.where(better, codes, best[0]), torch.where(better, scale, best[1]),
                    torch.where(better, zero, best[2]))  # fmt: skip
            least = torch.minimum(error, least)
    assert best is not None
    return best
