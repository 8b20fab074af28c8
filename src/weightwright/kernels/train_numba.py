"""The element-wise work of training, one pass over each row in f32, whatever the row is stored as (f32 or bf16).

What a backward pass needs again is made again from what was kept, instead of being kept as well.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from weightwright.kernels.elementwise_numba import F32, SILU, load, rms, store
from weightwright.kernels.vector import (  # fmt: skip
    FAST,
    after_counters,
    exp,
    f32s,
    i64s,
    larger,
    ticket,
    u16s,
    u32s,
)

_SIGNATURE = types.void(types.voidptr)
_OPTIONS: dict[str, Any] = {"cache": True, "fastmath": FAST, "nopython": True, "error_model": "numpy"}
_ONE, _ROOT, _CUBE = np.float32(1), np.float32(0.7978845608), np.float32(0.044715)


@cfunc(_SIGNATURE, **_OPTIONS)
def softmax_gradient(data: Any) -> None:
    """Logits become softmax - one-hot of their target, in place. See `train.softmax_gradient`."""
    a = carray(after_counters(data), (7,), np.int64)
    n, width, kind, logits, targets, sums, wanted = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    size = width * (4 if kind == F32 else 2)
    line = np.empty(width, np.float32)
    row = ticket(data, 1)
    while row < n:
        load(kind, logits + row * size, _ONE, 0, line)
        top = np.float32(-3e38)
        for i in range(width):
            top = larger(line[i], top)
        total = np.float32(0)
        for i in range(width):
            line[i] = exp(line[i] - top)
            total += line[i]
        f32s(sums, n)[row] = top + np.log(total)
        if wanted != 0:
            inverse = _ONE / total
            for i in range(width):
                line[i] *= inverse
            line[i64s(targets, n)[row]] -= _ONE
            store(kind, line, logits, 0, row, 1)
        row = ticket(data, 1)


@njit(inline="always", fastmath=FAST, error_model="numpy")
def activate(activation: int, x: Any) -> tuple[Any, Any]:
    """The activation and its derivative at x.

    SiLU: x s(x); GELU by tanh: x s(2 u), u = sqrt(2/pi) (x + 0.044715 x^3).
    """
    if activation == SILU:
        share = _ONE / (_ONE + exp(-x))
        return x * share, share * (_ONE + x * (_ONE - share))
    share = _ONE / (_ONE + exp(np.float32(-2) * _ROOT * (x + _CUBE * x * x * x)))
    slope = np.float32(2) * _ROOT * (_ONE + np.float32(3) * _CUBE * x * x)
    return x * share, share + x * share * (_ONE - share) * slope


@cfunc(_SIGNATURE, **_OPTIONS)
def gated(data: Any) -> None:
    """Out = activation(gate) x up. See `train.gated`."""
    a = carray(after_counters(data), (7,), np.int64)
    n, width, kind, activation, gate, up, out = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    size = width * (4 if kind == F32 else 2)
    left, right = np.empty(width, np.float32), np.empty(width, np.float32)
    row = ticket(data, 1)
    while row < n:
        load(kind, gate + row * size, _ONE, 0, left)
        load(kind, up + row * size, _ONE, 0, right)
        for i in range(width):
            left[i] = activate(activation, left[i])[0] * right[i]
        store(kind, left, out, 0, row, 1)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def gated_gradients(data: Any) -> None:
    """The gradients of gate and up; the product takes the place of its gradient. See `train.gated_gradients`."""
    a = carray(after_counters(data), (9,), np.int64)
    n, width, kind, activation, gate, up, grad = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    grad_gate, grad_up = a[7], a[8]
    size = width * (4 if kind == F32 else 2)
    left, right, outer = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    row = ticket(data, 1)
    while row < n:
        load(kind, gate + row * size, _ONE, 0, left)
        load(kind, up + row * size, _ONE, 0, right)
        load(kind, grad + row * size, _ONE, 0, outer)
        for i in range(width):
            value, slope = activate(activation, left[i])
            g, u = outer[i], right[i]
            left[i], right[i], outer[i] = g * u * slope, g * value, value * u
        store(kind, left, grad_gate, 0, row, 1)
        store(kind, right, grad_up, 0, row, 1)
        store(kind, outer, grad, 0, row, 1)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def norm(data: Any) -> None:
    """Out = x / rms(x) x weight. See `train.norm`."""
    real = carray(after_counters(data), (7,), np.float64)
    a = carray(after_counters(data), (7,), np.int64)
    n, width, kind, x, weight, eps, out = a[0], a[1], a[2], a[3], a[4], np.float32(real[5]), a[6]
    size = width * (4 if kind == F32 else 2)
    line, w = np.empty(width, np.float32), f32s(weight, width)
    row = ticket(data, 1)
    while row < n:
        load(kind, x + row * size, _ONE, 0, line)
        factor = rms(line, eps)
        for i in range(width):
            line[i] = line[i] * factor * w[i]
        store(kind, line, out, 0, row, 1)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def norm_gradient(data: Any) -> None:
    """The gradient of x: f (g w - x f^2 mean(g w x)), f = 1 / rms(x). See `train.norm_gradient`."""
    real = carray(after_counters(data), (8,), np.float64)
    a = carray(after_counters(data), (8,), np.int64)
    n, width, kind, x, weight, eps, grad, out = a[0], a[1], a[2], a[3], a[4], np.float32(real[5]), a[6], a[7]
    size = width * (4 if kind == F32 else 2)
    line, outer, w = np.empty(width, np.float32), np.empty(width, np.float32), f32s(weight, width)
    row = ticket(data, 1)
    while row < n:
        load(kind, x + row * size, _ONE, 0, line)
        load(kind, grad + row * size, _ONE, 0, outer)
        factor, along = rms(line, eps), np.float32(0)
        for i in range(width):
            outer[i] *= w[i]
            along += outer[i] * line[i]
        along *= factor * factor / np.float32(width)
        for i in range(width):
            outer[i] = factor * (outer[i] - line[i] * along)
        store(kind, outer, out, 0, row, 1)
        row = ticket(data, 1)


@njit(inline="always", error_model="numpy")
def is_finite(kind: int, address: int, n: int) -> bool:
    """Whether all numbers of a row are, by their bits: `FAST` arithmetic does not tell."""
    most = np.uint32(0)
    if kind == F32:
        whole = u32s(address, n)
        for i in range(n):
            most = max(most, whole[i] & np.uint32(0x7F800000))
        return bool(most != np.uint32(0x7F800000))
    half = u16s(address, n)
    for i in range(n):
        most = max(most, np.uint32(half[i]) & np.uint32(0x7F80))
    return bool(most != np.uint32(0x7F80))


@cfunc(_SIGNATURE, **_OPTIONS)
def codes(data: Any) -> None:
    """Rows in 8 bits. See `train.codes`."""
    a = carray(after_counters(data), (8,), np.int64)
    n, width, kind, x, out_kind, out, scales, block = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    size = width * (4 if kind == F32 else 2)
    line = np.empty(width, np.float32)
    row = ticket(data, 1)
    while row < n:
        load(kind, x + row * size, _ONE, 0, line)
        store(out_kind, line, out, scales, row, block)
        if not is_finite(kind, x + row * size, width):
            u32s(scales, n)[row] = np.uint32(0x7FC00000)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def scale_rows(data: Any) -> None:
    """Each row times its scale, in place. See `train.scale_rows`."""
    a = carray(after_counters(data), (5,), np.int64)
    n, width, kind, x, scales = a[0], a[1], a[2], a[3], f32s(a[4], a[0])
    size = width * (4 if kind == F32 else 2)
    line = np.empty(width, np.float32)
    row = ticket(data, 1)
    while row < n:
        load(kind, x + row * size, scales[row], 0, line)
        store(kind, line, x, 0, row, 1)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def rotate(data: Any) -> None:
    """Each head turns by the angles of its row, in place. See `train.rotate`."""
    a = carray(after_counters(data), (8,), np.int64)
    n, width, kind, heads, x, cos, sin, back = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    size, half, way = (4 if kind == F32 else 2), width // 2, np.float32(1 - 2 * back)
    line, c, s = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    turned, row = np.empty(width, np.float32), ticket(data, 1)
    while row < n:
        load(kind, cos + row * width * size, _ONE, 0, c)
        load(kind, sin + row * width * size, way, 0, s)
        for head in range(heads):
            at = x + (row * heads + head) * width * size
            load(kind, at, _ONE, 0, line)
            if back != 0:
                for i in range(half):
                    turned[i] = line[i] * c[i] - line[i + half] * s[i + half]
                    turned[i + half] = line[i + half] * c[i + half] + line[i] * s[i]
            else:
                for i in range(half):
                    turned[i] = line[i] * c[i] - line[i + half] * s[i]
                    turned[i + half] = line[i + half] * c[i + half] + line[i] * s[i + half]
            store(kind, turned, at, 0, 0, 1)
        row = ticket(data, 1)
