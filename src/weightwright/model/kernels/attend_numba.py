"""The code of `attend`: compiled once for each shape and kept on disk by numba."""

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from weightwright.model.kernels.dots import scores_dots, values_dots
from weightwright.model.kernels.tiles import KINDS, scores_tile, tile_bytes, values_tile
from weightwright.model.kernels.vector import (
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
)  # fmt: skip

LOWEST = np.float32(-3e38)
AHEAD = 4  # blocks fetched ahead


@njit(fastmath=FAST, error_model="numpy")
def softmax(line: Any, begin: int, end: int, cap: Any, sink: Any) -> None:
    """Softmax of line[begin:end] in place, zero elsewhere; `sink` is one more logit that takes its share.

    Every loop runs over the whole line from 0, which LLVM turns into vectors.
    """
    if cap > 0:  # soft-capping: cap tanh(x / cap)
        for t in range(len(line)):
            e = exp(np.float32(2) * line[t] / cap)
            line[t] = cap * (e - np.float32(1)) / (e + np.float32(1))
    for t in range(begin):
        line[t] = LOWEST
    for t in range(end, len(line)):
        line[t] = LOWEST
    top = sink
    for t in range(len(line)):
        top = larger(line[t], top)
    total = exp(sink - top)
    for t in range(len(line)):
        line[t] = exp(line[t] - top)
        total += line[t]
    inverse = np.float32(1) / total
    for t in range(len(line)):
        line[t] *= inverse
    for t in range(begin):
        line[t] = np.float32(0)
    for t in range(end, len(line)):
        line[t] = np.float32(0)


@njit(inline="always", error_model="numpy")
def ahead(tables: Any, entry: int, kv_heads: int, head: int, pages: int, size: int) -> None:
    """Fetch the tile of a block that comes later: blocks lie anywhere, so the CPU cannot guess it."""
    tile = pages + (np.int64(tables[entry]) * kv_heads + head) * size
    for line in range(0, size, 64):
        prefetch(tile + line)


@njit(fastmath=FAST, error_model="numpy")
def multiply(lines: int, group: int, room: int, scales: int) -> None:
    """16 numbers of each of `group` lines times the scales of a block's tokens."""
    factors = f32s(scales, 16)
    for g in range(group):
        line = f32s(lines + g * room * 4, 16)
        for t in range(16):
            line[t] *= factors[t]


@njit(fastmath=FAST, error_model="numpy")
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


def build(group: int, key_width: int, value_width: int, kind: str, dots: bool) -> Any:
    """Compile for these constants; with `dots` an int8 cache is multiplied as it is. Arguments: see `attend`."""
    code = KINDS.index(kind)
    fours = (key_width + 3) // 4
    tile_k, tile_v = tile_bytes(key_width, value_width, kind)

    @cfunc(types.void(types.voidptr), cache=True, fastmath=FAST, nopython=True, error_model="numpy")
    def attend(data: Any) -> None:
        a = carray(after_counters(data), (16,), np.int64)
        real = carray(after_counters(data), (16,), np.float64)
        rows, kv_heads, width, window = a[0], a[1], a[2], a[3]
        q, k, v, out = a[4], a[5], a[6], a[7]
        tables, lengths, scratch, room = i32s(a[8], rows * width), i64s(a[9], rows), a[10], a[11]
        sinks, k_scales, v_scales = a[12], a[13], a[14]
        cap = np.float32(real[15])
        mine = scratch + ticket(data, 0) * group * room * 4
        codes, starts = np.zeros((group, fours * 4), np.int8), np.empty(group, np.int32)
        factors = np.empty(group, np.float32)
        task = ticket(data, 1)
        while task < rows * kv_heads:
            row, head = task // kv_heads, task % kv_heads
            length = lengths[row]
            first = max(0, length - window) // 16 if window > 0 else 0
            last = (length + 15) // 16
            span = (last - first) * 16
            query = q + (row * kv_heads + head) * group * key_width * 4
            if dots:
                coded(query, codes, starts, factors, key_width)
            for block in range(first, last):
                ahead(tables, row * width + min(block + AHEAD, last - 1), kv_heads, head, k, tile_k)
                place = np.int64(tables[row * width + block]) * kv_heads + head
                s = mine + (block - first) * 64
                if dots:
                    scores_dots(group, fours, codes.ctypes.data, starts.ctypes.data, factors.ctypes.data,
                                k + place * tile_k, k_scales + place * 64, s, room * 4)  # fmt: skip
                    continue
                scores_tile(group, key_width, code, query, k + place * tile_k, s, room)
                if k_scales != 0:
                    multiply(s, group, room, k_scales + place * 64)
            begin = max(0, length - window) - first * 16 if window > 0 else 0
            for g in range(group):
                sink = f32s(sinks, kv_heads * group)[head * group + g] if sinks != 0 else LOWEST
                softmax(f32s(mine + g * room * 4, span), begin, length - first * 16, cap, sink)
            target = out + (row * kv_heads + head) * group * value_width * 4
            zeroed = f32s(target, group * value_width)
            for i in range(group * value_width):
                zeroed[i] = np.float32(0)
            for block in range(first, last):
                ahead(tables, row * width + min(block + AHEAD, last - 1), kv_heads, head, v, tile_v)
                place = np.int64(tables[row * width + block]) * kv_heads + head
                p = mine + (block - first) * 64
                if dots:
                    values_dots(
                        group, value_width, p, room * 4, v + place * tile_v, v_scales + place * 64, target
                    )
                    continue
                if v_scales != 0:
                    multiply(p, group, room, v_scales + place * 64)
                values_tile(group, value_width, code, p, room, v + place * tile_v, target)
            task = ticket(data, 1)

    return attend
