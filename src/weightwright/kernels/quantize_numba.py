"""The code of `quantize`: weights to 4 bits, a row after the other."""

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from weightwright.kernels.elementwise_numba import F32, load
from weightwright.kernels.vector import (  # fmt: skip
    FAST,
    after_counters,
    f32s,
    from_bf16,
    larger,
    nearest,
    smaller,
    ticket,
    to_bf16,
    u8s,
)

GROUP = 32
_SMALLEST = np.float32(1e-30)


@njit(fastmath=FAST, error_model="numpy")
def _code(part: Any, scale: Any, zero: Any, codes: Any) -> None:
    """The nearest of the codes 0..15 of each weight of a group, as f32."""
    inverse = np.float32(1) / scale
    first = np.float32(8) - zero * inverse
    for i in range(GROUP):
        code = smaller(larger(part[i] * inverse + first, np.float32(0)), np.float32(15))
        codes[i] = np.float32(nearest(code))


@njit(fastmath=FAST, error_model="numpy")
def _sums(part: Any, codes: Any) -> Any:
    """Sums of the codes, their squares, and their products with the weights."""
    one, two, both = np.float32(0), np.float32(0), np.float32(0)
    for i in range(GROUP):
        one += codes[i]
        two += codes[i] * codes[i]
        both += codes[i] * part[i]
    return one, two, both


@njit(fastmath=FAST, error_model="numpy")
def _error(part: Any, codes: Any, scale: Any, zero: Any) -> Any:
    """The squared error of a group."""
    error, first = np.float32(0), zero - np.float32(8) * scale
    for i in range(GROUP):
        off = codes[i] * scale + first - part[i]
        error += off * off
    return error


@njit(inline="always", error_model="numpy")
def _half(value: Any) -> Any:
    return from_bf16(to_bf16(value))


@cfunc(types.void(types.voidptr), cache=True, nopython=True, error_model="numpy", fastmath=FAST)
def int4(data: Any) -> None:
    """See `weights.quantize.quantize_int4`."""
    a = carray(after_counters(data), (9,), np.int64)
    n, width, kind, x, out, scales, zeros, many, ranges = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]
    shrinks, groups = f32s(ranges, many), width // GROUP
    line, codes, best = np.empty(width, np.float32), np.empty(GROUP, np.float32), np.empty(GROUP, np.float32)
    row = ticket(data, 1)
    while row < n:
        load(kind, x + row * width * (4 if kind == F32 else 2), np.float32(1), 0, line)
        target = u8s(out + row * width, width)
        kept_scales, kept_zeros = (
            f32s(scales + row * groups * 4, groups),
            f32s(zeros + row * groups * 4, groups),
        )
        for g in range(groups):
            part = line[g * GROUP : (g + 1) * GROUP]
            low, high, total = part[0], part[0], np.float32(0)
            for i in range(GROUP):
                low, high, total = smaller(part[i], low), larger(part[i], high), total + part[i]
            middle, half, mean = (
                (low + high) / np.float32(2),
                (high - low) / np.float32(2),
                total / np.float32(GROUP),
            )
            least = np.float32(np.inf)
            for shrink in range(many):
                step = larger(half * np.float32(2) * shrinks[shrink] / np.float32(15), _SMALLEST)
                scale, zero = _half(step), _half(middle + step / np.float32(2))
                for _ in range(2):
                    _code(part, scale, zero, codes)
                    error = _error(part, codes, scale, zero)
                    if error < least:
                        least = error
                        kept_scales[g], kept_zeros[g] = scale, zero
                        best[:] = codes
                    # a line through the points (code, weight): the scale and zero of these codes that err least
                    one, two, both = _sums(part, codes)
                    count = one / np.float32(GROUP)
                    square = two - one * count
                    fitted = larger((both - one * mean) / square, _SMALLEST) if square > 0 else _SMALLEST
                    scale, zero = _half(fitted), _half(mean - (count - np.float32(8)) * fitted)
            for i in range(GROUP):
                target[g * GROUP + i] = np.uint8(best[i])
        row = ticket(data, 1)
