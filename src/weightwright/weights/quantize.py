"""Rounding weights and activations to few bits: pure functions, no kernel.

int8 weights are symmetric with one scale a row (an output channel), int8 activations symmetric with one scale
a token, chosen anew each time (as in LLM.int8(), arXiv 2208.07339, §2.1, without its outlier columns). Both are
rotated first: a few inputs of a language model are ten to forty times the rest, and a scale that holds them
leaves nothing for the others; a Hadamard rotation of each 64 inputs spreads them (QuaRot, arXiv 2404.00456,
§3, here in blocks and inside the layer, so that no other layer, adapter or norm sees it). It needs no
calibration data. int4 weights have a scale and a zero point for each group of 32 inputs, and are not rotated.
"""

import functools

import torch
from torch import Tensor

from weightwright.kernels import pool
from weightwright.kernels import quantize as kernel
from weightwright.kernels.elementwise import BLOCKS, Stored, put
from weightwright.kernels.int8 import INT8_LEVELS

GROUP = 32
INT4_MIDDLE = 8  # the code that stands for a group's zero point
_SMALLEST_BLOCK = 16
_LARGEST_BLOCK = 64  # 32 measured almost as good, 16 worse, 512 no better
_SLICE_ELEMENTS = 1 << 18  # weights are converted in slices that stay in the cache
_SMALLEST = 1e-30  # a row whose largest magnitude is below it counts as zero
# how far a group's range is drawn in: the candidates among which the squared error decides
_SHRINK = (1.0, 0.94, 0.88, 0.82)


def rotation_block(inputs: int) -> int:
    """How many neighbouring inputs are rotated together: a power of two that divides `inputs`.

    From 16 to 64, or 1, which is none, where `inputs` is not a multiple of 16.
    """
    block = min(inputs & -inputs, _LARGEST_BLOCK)
    return block if block >= _SMALLEST_BLOCK else 1


@functools.cache
def hadamard(block: int) -> Tensor:
    """Sylvester's Hadamard matrix / √block, [block, block] f32: symmetric, and its own inverse."""
    with torch.inference_mode(False):  # kept: it must be usable where gradients flow, too
        matrix = torch.ones(1, 1)
        while len(matrix) < block:
            matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
        return matrix / block**0.5


def rotate(x: Tensor, block: int) -> Tensor:
    """Rotate each `block` neighbours of the last size: x [n, in] any float -> [n, in] f32. Block 1 is x itself.

    Twice is the identity. A kernel may use the butterfly of additions and leave the division by √block to its row
    scale.
    """
    rows = x.float()
    if block == 1:
        return rows
    return (rows.reshape(-1, block) @ hadamard(block)).view(rows.shape)


def row_scales(x: Tensor, levels: int = INT8_LEVELS) -> Tensor:
    """The scale of each row: x [n, in] f32 -> [n, 1] f32, largest magnitude / levels.

    1 for a row of zeros. A row with a NaN or an infinity has a scale that is not finite, and so makes
    outputs that are not: a broken model is not hidden.
    """
    largest = x.abs().amax(-1, keepdim=True)
    return largest.div(levels).masked_fill_(largest < _SMALLEST, 1.0)


def quantize_rows(x: Tensor, offset: int, block: int = 1) -> tuple[Tensor, Tensor]:
    """Activations to 8 bits, each row by itself: x [n, in] any float -> xq [n, in], scale [n, 1] f32.

    With offset 0 xq is int8, with 128 it is uint8, and rotate(x, block) ≈ (xq - offset) · scale with an error of
    at most half a scale.
    """
    rotated = rotate(x, block)
    scale = row_scales(rotated)
    ratio = rotated.div(scale)
    if offset == 0:
        return ratio.round_().to(torch.int8), scale
    return ratio.add_(offset + 0.5).to(torch.uint8), scale  # the cast cuts off, which rounds what is above 0


def quantize_int8(weight: Tensor, levels: int = INT8_LEVELS, block: int = 1) -> tuple[Tensor, Tensor]:
    """Weights to 8 bits, each output channel by itself: [out, in] any float -> int8 [out, in], scale f32 [out].

    rotate(weight, block) ≈ q · scale[:, None] with |q| <= levels. The kernels' rounding differs from torch's in the
    last bit of a scale.
    """
    outputs, inputs = weight.shape
    q = torch.empty(outputs, inputs, dtype=torch.int8, device=weight.device)
    scale = torch.empty(outputs, dtype=torch.float32, device=weight.device)
    step = max(1, _SLICE_ELEMENTS // max(1, inputs))
    native = weight.device.type == "cpu" and levels == INT8_LEVELS and block in BLOCKS and pool.available()
    for start in range(0, outputs, step):
        rows = slice(start, start + step)
        part = weight[rows].to(torch.float32, copy=True)
        if native and part.sum().isfinite():  # the kernel would hide a NaN
            stored = put(part, Stored(torch.int8, block))
            assert stored.scales is not None
            q[rows], scale[rows] = stored.data, stored.scales
            continue
        part = rotate(part, block)
        scales = row_scales(part, levels)
        scale[rows] = scales[:, 0]
        q[rows] = part.div(scales).round_()
    return q, scale


def quantize_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights to 4 bits in groups of 32 inputs: [out, in] any float -> codes, scale, zero.

    codes uint8 [out, in] of 0..15, scale and zero bf16 [out, in / 32]; weight ≈ (code - 8) · scale + zero.
    Of a few ranges narrower than minimum to maximum, and a line fitted to the codes of each, a group takes that of
    the least squared error; the full range comes first, so that weights which had 4 bits before stay as they are.

    Raises ValueError where `in` is not a multiple of 32 (`pack` pads).
    """
    outputs, inputs = weight.shape
    if inputs % GROUP:
        raise ValueError(f"the inputs must be a multiple of {GROUP}, got {inputs}")
    # the kernel would hide a NaN
    if weight.device.type == "cpu" and pool.available() and weight.isfinite().all():
        exact = weight if weight.dtype in (torch.float32, torch.bfloat16) else weight.float()
        codes, scale, zero = kernel.int4(exact, _SHRINK)
        return codes, scale.bfloat16(), zero.bfloat16()
    codes = torch.empty(outputs, inputs, dtype=torch.uint8, device=weight.device)
    scale = torch.empty(outputs, inputs // GROUP, dtype=torch.bfloat16, device=weight.device)
    zero = torch.empty_like(scale)
    step = max(1, _SLICE_ELEMENTS // max(1, inputs))
    for start in range(0, outputs, step):
        rows = slice(start, start + step)
        groups = weight[rows].float().reshape(-1, inputs // GROUP, GROUP)
        group_codes, scales, zeros = _best_groups(groups)
        codes[rows] = group_codes.reshape(-1, inputs)
        scale[rows], zero[rows] = scales[..., 0], zeros[..., 0]
    return codes, scale, zero


def _best_groups(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [rows, groups, 32] f32, scale and zero [rows, groups, 1] bf16 of the least squared error."""
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    middle, half = (low + high) / 2, (high - low) / 2
    # codes 0 and 15 lie 7.5 steps from the middle
    steps = [(half * (2 * shrink / 15)).clamp_min(_SMALLEST) for shrink in _SHRINK]
    codes, scale, zero, least = _grid(groups, steps[0], middle + steps[0] / 2)
    for step in steps:
        first = _grid(groups, step, middle + step / 2)
        for other_codes, other_scale, other_zero, error in (first, _grid(groups, *_fitted(groups, first[0]))):
            better = error < least
            codes = torch.where(better, other_codes, codes)
            scale, zero = torch.where(better, other_scale, scale), torch.where(better, other_zero, zero)
            least = torch.minimum(error, least)
    return codes, scale, zero


def _fitted(groups: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and zero [rows, groups, 1] for which given codes err least (a line through the points)."""
    mean, middle = codes.mean(-1, keepdim=True), groups.mean(-1, keepdim=True)
    away = codes - mean
    scale = (away * (groups - middle)).sum(-1, keepdim=True) / away.square().sum(-1, keepdim=True)
    scale = scale.nan_to_num_(0.0).clamp_min_(_SMALLEST)
    return scale, middle - (mean - INT4_MIDDLE) * scale


def _grid(groups: Tensor, scale: Tensor, zero: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, scale, zero and squared error of 16 even steps around zero."""
    # rounded as they are held, so that the codes make good what the scale lost
    scale, zero = scale.bfloat16(), zero.bfloat16()
    codes = ((groups - zero.float()) / scale.float() + INT4_MIDDLE).round_().clamp_(0, 15)
    error = (codes - INT4_MIDDLE).mul_(scale.float()).add_(zero.float()).sub_(groups)
    return codes, scale, zero, error.square_().sum(-1, keepdim=True)
