"""The code of `encode`: compiled once and kept on disk by numba.

Texts stand one behind the other, without padding; each attends to its own tokens only. What is multiplied in
attention is laid out as in `segments`: f32, or pairs of bf16 where the CPU multiplies these.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from weightwright.kernels.elementwise_numba import F32, load, store
from weightwright.kernels.entry import entry
from weightwright.kernels.tiles import DOTS, WHOLE, products
from weightwright.kernels.vector import (
    FAST,
    after_counters,
    exp,
    f32s,
    from_bf16,
    halves,
    i64s,
    larger,
    ticket,
    twins,
    u16s,
)

_SIGNATURE = types.void(types.voidptr)
_OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}
_KEPT: dict[str, Any] = {"cache": True, "nopython": True, **_OPTIONS}
_PAIR = 2  # vectors of keys or of numbers in one pass
_STEP = 64  # scores: LLVM takes four vectors at a time, and what is left over one by one
LOWEST = np.float32(-3e38)
_ROOT_HALF = np.float32(0.70710678)


@njit(inline="always", **_OPTIONS)
def gelu_of(x: Any) -> Any:
    """X times the normal distribution's share below it, to 2e-7 |x| (Abramowitz and Stegun, 7.1.26)."""
    away = abs(x) * _ROOT_HALF
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * away)
    tail = np.float32(1.061405429)
    tail = tail * t + np.float32(-1.453152027)
    tail = tail * t + np.float32(1.421413741)
    tail = tail * t + np.float32(-0.284496736)
    tail = tail * t + np.float32(0.254829592)
    tail = tail * t * np.float32(0.5) * exp(-away * away)
    return x * (np.float32(1) - tail if x > 0 else tail)


@cfunc(_SIGNATURE, **_KEPT)
def gelu(data: Any) -> None:
    """Rows x + bias through `gelu_of`. See `encode.gelu`."""
    a = carray(after_counters(data), (10,), np.int64)
    n, width, x, kind, scales, bias = a[0], a[1], a[2], a[3], a[4], a[5]
    out_kind, out, out_scales, block = a[6], a[7], a[8], a[9]
    line = np.empty(width, np.float32)
    row = ticket(data, 1)
    while row < n:
        scale = f32s(scales, n)[row] if scales != 0 else np.float32(1)
        load(kind, x + row * width * (4 if kind == F32 else 2), scale, bias, line)
        for i in range(width):
            line[i] = gelu_of(line[i])
        store(out_kind, line, out, out_scales, row, block)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_KEPT)
def add_norm(data: Any) -> None:
    """Hidden = out = layer_norm(hidden + y). See `encode.add_norm`."""
    a, real = carray(after_counters(data), (14,), np.int64), carray(after_counters(data), (14,), np.float64)
    n, width, hidden, y, kind, scales, bias = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    weight, shift, eps = a[7], a[8], np.float32(real[9])
    out_kind, out, out_scales, block = a[10], a[11], a[12], a[13]
    line, w, b = np.empty(width, np.float32), f32s(weight, width), f32s(shift, width)
    row = ticket(data, 1)
    while row < n:
        stream = f32s(hidden + row * width * 4, width)
        scale = f32s(scales, n)[row] if scales != 0 else np.float32(1)
        load(kind, y + row * width * (4 if kind == F32 else 2), scale, bias, line)
        total = np.float32(0)
        for i in range(width):
            line[i] += stream[i]
            total += line[i]
        mean, square = total / np.float32(width), np.float32(0)
        for i in range(width):
            line[i] -= mean
            square += line[i] * line[i]
        factor = np.float32(1) / np.sqrt(square / np.float32(width) + eps)
        for i in range(width):
            line[i] = line[i] * factor * w[i] + b[i]
            stream[i] = line[i]
        store(out_kind, line, out, out_scales, row, block)
        row = ticket(data, 1)


def _head(width: int) -> Any:
    """A head's numbers of a row. Its width is known to the compiler, so that no number is left over for a loop."""

    @njit(**_OPTIONS)
    def head(
        x: int, kind: int, scales: int, bias: int, row: int, step: int, at: int, scale: Any, line: Any
    ) -> None:
        """Line = numbers `at` and following of a row of `step`: (number x the row's scale + bias) x scale."""
        factor = f32s(scales, row + 1)[row] if scales != 0 else np.float32(1)
        added = f32s(bias + at * 4, width)
        if kind == F32:
            whole = f32s(x + (row * step + at) * 4, width)
            for i in range(width):
                line[i] = (whole[i] * factor + added[i]) * scale
        else:
            half = u16s(x + (row * step + at) * 2, width)
            for i in range(width):
                line[i] = (from_bf16(half[i]) * factor + added[i]) * scale

    return head


def _row(dots: bool) -> Any:
    """Numbers (a multiple of 16) as products take them from one side: f32, or bf16 beside each other."""

    @njit(**_OPTIONS)
    def row(line: Any, place: int) -> None:
        if dots:
            for i in range(0, len(line), 16):
                halves(line.ctypes.data + i * 4, place + i * 2)
        else:
            whole = f32s(place, len(line))
            for i in range(len(line)):
                whole[i] = line[i]

    return row


def _values(dots: bool) -> Any:
    """Two tokens' values as products take them from the other side: one below the other, or in pairs of bf16."""

    @njit(**_OPTIONS)
    def values(first: Any, second: Any, place: int) -> None:
        width = len(first)
        if dots:
            for i in range(0, width, 16):
                twins(first.ctypes.data + i * 4, second.ctypes.data + i * 4, place + i * 4)
        else:
            whole = f32s(place, 2 * width)
            for i in range(width):
                whole[i] = first[i]
                whole[width + i] = second[i]

    return values


@njit(**_OPTIONS)
def weigh(line: Any, n: int) -> Any:
    """Turn scores (a multiple of 64) into exp(score - top), beyond n into next to nothing; their sum."""
    top, total = LOWEST, np.float32(0)
    for t in range(n, len(line)):
        line[t] = LOWEST
    for t in range(len(line)):
        top = larger(line[t], top)
    for t in range(len(line)):
        line[t] = exp(line[t] - top)
        total += line[t]
    return total


def build(width: int, dots: bool, rows: int) -> Any:
    """Compile attention for heads of `width` numbers, `rows` queries at a time; with `dots` in pairs of bf16."""
    together = 2 if dots else 1  # numbers in 32 bits
    form, k_count = DOTS if dots else WHOLE, width // together
    head_of, put_row, put_values = _head(width), _row(dots), _values(dots)
    padded = -(-width // 32) * 32

    @entry(width, dots, rows, **_OPTIONS)
    def attend(data: Any) -> None:
        a, real = (
            carray(after_counters(data), (10,), np.int64),
            carray(after_counters(data), (10,), np.float64),
        )
        starts, texts, longest, heads, x, kind, scales, bias = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
        out, scale = a[8], np.float32(real[9])
        step, one = 3 * heads * width, np.float32(1)
        most = (longest + _STEP - 1) // _STEP * _STEP
        queries = np.zeros((rows, k_count), np.uint32)
        keys = np.zeros((most // 16, k_count, 16), np.uint32)
        values = np.zeros((most // together + _PAIR, width), np.uint32)
        scores, weights = np.empty((rows, most), np.float32), np.empty((rows, most // together), np.uint32)
        key, second = np.zeros(k_count, np.uint32), np.empty(width, np.float32)
        sums, line, totals = (
            np.empty((rows, padded), np.float32),
            np.empty(width, np.float32),
            np.empty(rows, np.float32),
        )
        task = ticket(data, 1)
        while task < texts * heads:
            begin, end = i64s(starts, texts + 1)[task // heads], i64s(starts, texts + 1)[task // heads + 1]
            n, head = end - begin, task % heads
            wide = (n + _STEP - 1) // _STEP * _STEP
            query_at, key_at, value_at = head * width, (heads + head) * width, (2 * heads + head) * width
            values[n // together : wide // together] = 0
            for t in range(0, n, 2):
                for token in range(t, min(t + 2, n)):
                    head_of(x, kind, scales, bias, begin + token, step, key_at, one, line)
                    put_row(line, key.ctypes.data)
                    for i in range(k_count):
                        keys[token // 16, i, token % 16] = key[i]
                head_of(x, kind, scales, bias, begin + t, step, value_at, one, line)
                if t + 1 < n:
                    head_of(x, kind, scales, bias, begin + t + 1, step, value_at, one, second)
                else:
                    second[:] = 0
                put_values(line, second, values[t // together].ctypes.data)
            for first in range(0, n, rows):
                some = min(rows, n - first)
                for r in range(some):
                    head_of(x, kind, scales, bias, begin + first + r, step, query_at, scale, line)
                    put_row(line, queries[r].ctypes.data)
                for column in range(0, wide // 16, _PAIR):
                    products(rows, _PAIR, form, 0, queries.ctypes.data, k_count * 4, keys[column].ctypes.data, 64,
                             k_count * 64, k_count, scores.ctypes.data + column * 64, most * 4, 0)  # fmt: skip
                for r in range(some):
                    totals[r] = weigh(scores[r, :wide], n)
                    put_row(scores[r, :wide], weights[r].ctypes.data)
                for v in range(0, padded // 16, _PAIR):
                    products(rows, _PAIR, form, 0, weights.ctypes.data, most // together * 4,
                             values.ctypes.data + v * 64, width * 4, 64, wide // together,
                             sums.ctypes.data + v * 64, padded * 4, 0)  # fmt: skip
                for r in range(some):
                    target = f32s(out + ((begin + first + r) * heads + head) * width * 4, width)
                    for i in range(width):
                        target[i] = sums[r, i] / totals[r]
            task = ticket(data, 1)

    return attend
