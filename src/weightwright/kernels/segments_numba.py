"""The code of `segments`: compiled once for each shape and kept on disk by numba.

FlashAttention's online softmax (Dao et al. 2022, arXiv 2205.14135, algorithm 1) over stages of STAGE keys. A stage's
keys and values are laid out once for the many queries of a task, as numbers of 32 bits: f32, or two bf16 beside each
other that one instruction (AVX512-BF16's vdpbf16ps) multiplies and adds to an f32 sum.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from weightwright.kernels.entry import entry
from weightwright.kernels.tiles import DOTS, WHOLE, products, tile_bytes
from weightwright.kernels.vector import (
    FAST,
    after_counters,
    exp,
    f32s,
    from_bf16,
    i32s,
    i64s,
    larger,
    pair,
    ticket,
    to_bf16,
    u8s,
    u16s,
    u32s,
)

STAGE = 64  # keys
ROWS = 4  # queries in one pass: with 4 vectors of keys or numbers, 16 registers of sums
LOWEST = np.float32(-3e38)
_COLUMNS = 4  # vectors
_OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}


@njit(**_OPTIONS)
def weigh(line: Any, begin: int, end: int, state: Any) -> Any:
    """Turn scores into exp(score - top); what earlier sums are to be multiplied with.

    `state` is the top so far and the sum so far. Outside [begin, end), where something must be, it leaves exp's
    least, 2e-38, which no f32 sum with the top's 1 in it can tell from nothing.
    """
    if begin > 0 or end < STAGE:
        for t in range(STAGE):
            if t < begin or t >= end:
                line[t] = LOWEST
    top = state[0]
    for t in range(STAGE):
        top = larger(line[t], top)
    factor = exp(state[0] - top) if state[1] > 0 else np.float32(0)
    total = np.float32(0)
    for t in range(STAGE):
        line[t] = exp(line[t] - top)
        total += line[t]
    state[0] = top
    state[1] = state[1] * factor + total
    return factor


@njit(**_OPTIONS)
def write_out(sums: Any, states: Any, rows: int, out: int, step: int, group: int, width: int) -> None:
    """Weighted sums / sums of weights to `rows` tokens of a head's `group` queries, `step` numbers apart."""
    for r in range(rows):
        for g in range(group):
            target = f32s(out + (r * step + g * width) * 4, width)
            share = np.float32(1) / states[r * group + g, 1]
            for d in range(width):
                target[d] = sums[r * group + g, d] * share


@njit(**_OPTIONS)
def laid_pairs(place: int, rows: int, columns: int, _scales: int, _by_row: bool, out: int) -> None:
    """A block's bf16 [rows, columns] as [rows / 2, columns] pairs."""
    half, both = u16s(place, rows * columns), u32s(out, rows // 2 * columns)
    for r in range(rows // 2):
        for c in range(columns):
            both[r * columns + c] = pair(half[2 * r * columns + c], half[(2 * r + 1) * columns + c])


def _laid_whole(kind: str) -> Any:
    """A block's f32 or bf16 [rows, columns] as f32."""

    @njit(**_OPTIONS)
    def laid(place: int, rows: int, columns: int, _scales: int, _by_row: bool, out: int) -> None:
        count = rows * columns
        target, whole, half = f32s(out, count), f32s(place, count), u16s(place, count)
        for i in range(count):
            target[i] = whole[i] if kind == "f32" else from_bf16(half[i])

    return laid


def _laid_int8(dots: bool) -> Any:
    """A block's int8, four numbers of a column together, as f32 [rows, columns] or as pairs of bf16."""

    @njit(**_OPTIONS)
    def laid(place: int, rows: int, columns: int, scales: int, by_row: bool, out: int) -> None:
        byte, factors = u8s(place, (rows + 3) // 4 * 4 * columns), f32s(scales, 16)
        flip = np.uint8(0) if by_row else np.uint8(128)  # keys are unsigned
        whole, half = f32s(out, rows * columns), u16s(out, rows * columns)
        for r in range(rows):
            for c in range(columns):
                number = np.int8(byte[(r // 4 * columns + c) * 4 + r % 4] ^ flip)
                value = np.float32(number) * (factors[r] if by_row else factors[c])
                if dots:
                    half[(r // 2 * columns + c) * 2 + r % 2] = to_bf16(value)
                else:
                    whole[r * columns + c] = value

    return laid


def _kept(dots: bool) -> Any:
    """Numbers as products take them: f32, or bf16 beside each other."""

    @njit(**_OPTIONS)
    def kept(line: Any, out: int) -> None:
        if dots:
            half = u16s(out, len(line))
            for i in range(len(line)):
                half[i] = to_bf16(line[i])
        else:
            whole = f32s(out, len(line))
            for i in range(len(line)):
                whole[i] = line[i]

    return kept


def _stage(value_width: int, dots: bool) -> Any:
    """Take one stage of keys and values in: ROWS queries after the other."""
    form, kept = DOTS if dots else WHOLE, _kept(dots)
    v_count, v_step = STAGE // (2 if dots else 1), value_width * 4

    @njit(**_OPTIONS)
    def stage(
        queries: Any, keys: Any, values: Any, scores: Any, weights: Any, factors: Any, sums: Any, states: Any,
        group: int, last: int, first_end: int, window: int,
    ) -> None:  # fmt: skip
        """The first query's token sees this stage's keys before `first_end`, the next token's one more; `last` is the
        number of the last token.
        """
        k_count = queries.shape[1]
        for row in range(0, len(states), ROWS):
            products(ROWS, _COLUMNS, form, 0, queries[row].ctypes.data, k_count * 4, keys.ctypes.data, 64,
                     k_count * 64, k_count, scores.ctypes.data, STAGE * 4, 0)  # fmt: skip
            for r in range(ROWS):
                end = first_end + min((row + r) // group, last)
                begin = max(0, end - window) if window > 0 else 0
                if begin < min(STAGE, end):
                    factors[r] = weigh(scores[r], begin, min(STAGE, end), states[row + r])
                else:
                    scores[r] = 0
                    factors[r] = 1
                kept(scores[r], weights[r].ctypes.data)
            for v in range(0, value_width // 16, _COLUMNS):
                products(ROWS, _COLUMNS, form, 1, weights.ctypes.data, v_count * 4, values.ctypes.data + v * 64,
                         v_step, 64, v_count, sums[row].ctypes.data + v * 64, sums.shape[1] * 4,
                         factors.ctypes.data)  # fmt: skip

    return stage


def build(group: int, key_width: int, value_width: int, kind: str, dots: bool) -> Any:
    """Compile for `group` query heads a key/value head, and caches of `kind` f32, bf16 or int8.

    With `dots` they are multiplied as pairs of bf16, else as f32. Arguments: see `segments.attend`.
    """
    tile_k, tile_v = tile_bytes(key_width, value_width, kind)
    together = 2 if dots else 1  # numbers in 32 bits
    k_count, v_count = key_width // together, 16 // together
    laid = _laid_int8(dots) if kind == "int8" else laid_pairs if dots else _laid_whole(kind)
    kept, stage = _kept(dots), _stage(value_width, dots)
    padded = (value_width + 63) // 64 * 64

    @entry(group, key_width, value_width, kind, dots, **_OPTIONS)
    def attend(data: Any) -> None:
        a = carray(after_counters(data), (14,), np.int64)
        tasks, count, tokens, segments, tables = a[0], a[1], a[2], a[3], a[4]
        width, kv_heads, window = a[5], a[6], a[7]
        q, k, v, out, k_scales, v_scales = a[8], a[9], a[10], a[11], a[12], a[13]
        most = (tokens * group + ROWS - 1) // ROWS * ROWS
        queries, keys = np.empty((most, k_count), np.uint32), np.empty((STAGE // 16, k_count, 16), np.uint32)
        # behind the last values is what a pass may read there
        values = np.empty((STAGE // together + _COLUMNS, value_width), np.uint32)
        scores, weights = np.empty((ROWS, STAGE), np.float32), np.empty((ROWS, STAGE // together), np.uint32)
        sums, states = np.empty((most, padded), np.float32), np.empty((most, 2), np.float32)
        factors, number, heads = np.empty(ROWS, np.float32), ticket(data, 1), kv_heads * group
        while number < count * kv_heads:
            task, head = i64s(tasks + number // kv_heads * 16, 2), number % kv_heads
            segment, first = i64s(segments + task[0] * 24, 3), task[1]
            start, length, table = segment[0] + first, segment[2], i32s(tables + task[0] * width * 4, width)
            rows = min(tokens, segment[1] - first)
            place = length - segment[1] + first  # of the first query
            for r in range(rows):
                for g in range(group):
                    at = q + ((start + r) * heads + head * group + g) * key_width * 4
                    kept(f32s(at, key_width), queries[r * group + g].ctypes.data)
            used = (rows * group + ROWS - 1) // ROWS * ROWS
            queries[rows * group : used] = 0
            sums[:used] = 0
            states[:used, 0] = LOWEST
            states[:used, 1] = 0
            lowest = max(0, place - window + 1) if window > 0 else 0
            for stand in range(lowest // STAGE * STAGE, place + rows, STAGE):
                for part in range(STAGE // 16):
                    block = stand // 16 + part
                    if block * 16 < length:
                        at = np.int64(table[block]) * kv_heads + head
                        laid(k + at * tile_k, key_width, 16, k_scales + at * 64 if k_scales != 0 else k_scales,
                             False, keys[part].ctypes.data)  # fmt: skip
                        laid(v + at * tile_v, 16, value_width, v_scales + at * 64 if v_scales != 0 else v_scales,
                             True, values[part * v_count].ctypes.data)  # fmt: skip
                    else:
                        values[part * v_count : (part + 1) * v_count] = 0
                stage(queries, keys, values, scores, weights, factors, sums, states[:used], group, rows - 1,
                      place + 1 - stand, window)  # fmt: skip
            target = out + (start * heads + head * group) * value_width * 4
            write_out(sums, states, rows, target, heads * value_width, group, value_width)
            number = ticket(data, 1)

    return attend
