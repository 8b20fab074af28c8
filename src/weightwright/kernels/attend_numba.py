"""The code of `attend`: compiled once for each shape and kept on disk by numba.

Softmax goes online over stages of a few blocks (Dao et al. 2022, arXiv 2205.14135, algorithm 1), so that memory is
read all the time: while one stage is computed the next one's keys and values are fetched.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from weightwright.kernels.dots import codes_of, scores_dots, values_dots
from weightwright.kernels.entry import entry
from weightwright.kernels.tiles import KINDS, scores_tile, tile_bytes, values_tile
from weightwright.kernels.vector import (  # fmt: skip
    FAST,
    after_counters,
    exp,
    f32s,
    i32s,
    i64s,
    larger,
    nearest,
    prefetch,
    ticket,
)

LOWEST = np.float32(-3e38)
BLOCKS = 8
SPAN = 16 * BLOCKS  # tokens of a stage
_OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}


@njit(**_OPTIONS)
def weigh(line: Any, begin: int, end: int, cap: Any, state: Any, out: Any) -> None:
    """Turn scores into exp(score - top); earlier sums `out` are brought to the same top.

    `state` is the top so far and the sum so far. Outside [begin, end) it leaves exp's least, 2e-38, which no f32 sum
    with the top's 1 in it can tell from nothing. Every loop runs over a whole line from 0, which LLVM turns into
    vectors.
    """
    if cap > 0:  # soft-capping: cap tanh(x / cap)
        for t in range(len(line)):
            e = exp(np.float32(2) * line[t] / cap)
            line[t] = cap * (e - np.float32(1)) / (e + np.float32(1))
    for t in range(begin):
        line[t] = LOWEST
    for t in range(end, len(line)):
        line[t] = LOWEST
    top = state[0]
    for t in range(len(line)):
        top = larger(line[t], top)
    total = np.float32(0)
    for t in range(len(line)):
        line[t] = exp(line[t] - top)
        total += line[t]
    if top > state[0]:
        factor = exp(state[0] - top)
        state[1] *= factor
        for d in range(len(out)):
            out[d] *= factor
    state[0] = top
    state[1] += total


@njit(inline="always", error_model="numpy")
def ahead(tile: int, size: int) -> None:
    """Fetch a tile of a block that comes later: blocks lie anywhere, so the CPU cannot guess it."""
    for line in range(0, size, 64):
        prefetch(tile + line)


@njit(**_OPTIONS)
def multiply(lines: Any, scales: int) -> None:
    """16 numbers of each line times the scales of a block's tokens."""
    factors = f32s(scales, 16)
    for g in range(len(lines)):
        for t in range(16):
            lines[g, t] *= factors[t]


@njit(**_OPTIONS)
def coded(query: int, codes: Any, starts: Any, factors: Any, width: int) -> None:
    """Queries as signed bytes with a factor each; `starts` takes back the 128 that keys have as their zero."""
    for g in range(len(codes)):
        real, line = f32s(query + g * width * 4, width), codes[g]
        top = np.float32(0)
        for i in range(width):
            top = larger(abs(real[i]), top)
        inverse = np.float32(127) / top if top > 0 else np.float32(0)
        total = np.int32(0)
        for i in range(width):
            code = nearest(real[i] * inverse)
            line[i] = np.int8(code)
            total += code
        starts[g] = np.int32(-128) * total
        factors[g] = top / np.float32(127)


def _stage(group: int, key_width: int, value_width: int, kind: str, dots: bool) -> tuple[Any, Any]:
    """Scores of a stage's blocks, and the weighted sums of their values: two functions of the same shape.

    `places` has where the tiles of the stage's blocks stand and, behind them, those of the next stage.
    """
    code, fours = KINDS.index(kind), (key_width + 3) // 4
    tile_k, tile_v = tile_bytes(key_width, value_width, kind)
    if dots:

        @njit(**_OPTIONS)
        def scores(places: Any, count: int, query: Any, k: int, scales: int, lines: Any) -> None:
            codes, starts, factors = query
            for at in range(0, count, 2):
                first, second = places[at], places[min(at + 1, count - 1)]
                ahead(k + places[at + BLOCKS] * tile_k, tile_k)
                ahead(k + places[at + 1 + BLOCKS] * tile_k, tile_k)
                scores_dots(group, fours, codes.ctypes.data, starts.ctypes.data, factors.ctypes.data,
                            k + first * tile_k, scales + first * 64, k + second * tile_k, scales + second * 64,
                            lines.ctypes.data + at * 64, SPAN * 4)  # fmt: skip

        @njit(**_OPTIONS)
        def values(places: Any, count: int, weights: Any, v: int, scales: int, lines: Any, out: int) -> None:
            codes, factors = weights
            if count % 2:
                lines[:, count * 16 : count * 16 + 16] = 0
            for at in range(0, count, 2):
                first, second = places[at], places[min(at + 1, count - 1)]
                ahead(v + places[at + BLOCKS] * tile_v, tile_v)
                ahead(v + places[at + 1 + BLOCKS] * tile_v, tile_v)
                codes_of(group, lines.ctypes.data + at * 64, SPAN * 4, scales + first * 64, scales + second * 64,
                         codes.ctypes.data, factors.ctypes.data)  # fmt: skip
                values_dots(group, value_width, codes.ctypes.data, factors.ctypes.data, v + first * tile_v,
                            v + second * tile_v, out)  # fmt: skip

    else:

        @njit(**_OPTIONS)
        def scores(places: Any, count: int, query: Any, k: int, scales: int, lines: Any) -> None:
            for at in range(count):
                ahead(k + places[at + BLOCKS] * tile_k, tile_k)
                scores_tile(
                    group, key_width, code, query, k + places[at] * tile_k, lines.ctypes.data + at * 64, SPAN
                )
                if scales != 0:
                    multiply(lines[:, at * 16 : at * 16 + 16], scales + places[at] * 64)

        @njit(**_OPTIONS)
        def values(places: Any, count: int, weights: Any, v: int, scales: int, lines: Any, out: int) -> None:
            for at in range(count):
                ahead(v + places[at + BLOCKS] * tile_v, tile_v)
                if scales != 0:
                    multiply(lines[:, at * 16 : at * 16 + 16], scales + places[at] * 64)
                values_tile(
                    group, value_width, code, lines.ctypes.data + at * 64, SPAN, v + places[at] * tile_v, out
                )

    return scores, values


def build(group: int, key_width: int, value_width: int, kind: str, dots: bool) -> Any:
    """Compile for these constants; with `dots` an int8 cache is multiplied as it is. Arguments: see `attend`."""
    scores, values = _stage(group, key_width, value_width, kind, dots)
    padded = (key_width + 3) // 4 * 4

    @entry(group, key_width, value_width, kind, dots, **_OPTIONS)
    def attend(data: Any) -> None:
        a = carray(after_counters(data), (14,), np.int64)
        real = carray(after_counters(data), (14,), np.float64)
        rows, kv_heads, width, window = a[0], a[1], a[2], a[3]
        q, k, v, out = a[4], a[5], a[6], a[7]
        tables, lengths = i32s(a[8], rows * width), i64s(a[9], rows)
        sinks, k_scales, v_scales, cap = a[10], a[11], a[12], np.float32(real[13])
        lines, states = np.empty((group, SPAN), np.float32), np.empty((group, 2), np.float32)
        codes, starts = np.zeros((group, padded), np.int8), np.empty(group, np.int32)
        factors, weights = np.empty((2, group), np.float32), np.empty((group, 32), np.uint8)
        places, task = np.empty(2 * BLOCKS, np.int64), ticket(data, 1)
        while task < rows * kv_heads:
            row, head = task // kv_heads, task % kv_heads
            length, query = lengths[row], q + task * group * key_width * 4
            target = f32s(out + task * group * value_width * 4, group * value_width)
            target[:] = 0
            for g in range(group):
                states[g, 0] = f32s(sinks, kv_heads * group)[head * group + g] if sinks != 0 else LOWEST
                states[g, 1] = 1 if sinks != 0 else 0
            if dots:
                coded(query, codes, starts, factors[0], key_width)
            lowest = max(0, length - window) if window > 0 else 0
            last = (length + 15) // 16
            for first in range(lowest // 16, last, BLOCKS):
                for at in range(2 * BLOCKS):
                    block = tables[row * width + min(first + at, last - 1)]
                    places[at] = np.int64(block) * kv_heads + head
                count = min(BLOCKS, last - first)
                if dots:
                    scores(places, count, (codes, starts, factors[0]), k, k_scales, lines)
                else:
                    scores(places, count, query, k, k_scales, lines)
                begin, end = max(0, lowest - first * 16), min(count * 16, length - first * 16)
                for g in range(group):
                    weigh(lines[g, : count * 16], begin, end, cap, states[g],
                          target[g * value_width : (g + 1) * value_width])  # fmt: skip
                values(places, count, (weights, factors[1]), v, v_scales, lines, target.ctypes.data)
            for g in range(group):
                share = np.float32(1) / states[g, 1]
                for d in range(value_width):
                    target[g * value_width + d] *= share
            task = ticket(data, 1)

    return attend
