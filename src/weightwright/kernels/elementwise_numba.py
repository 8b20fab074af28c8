"""The element-wise work between two matrix products, one pass over each row: compiled once, kept on disk by numba.

A row is loaded as f32 whatever it is stored as, worked on, and stored as the next product wants it: f32, bf16,
or int8 with a scale of its own (symmetric, 127 / the largest magnitude).
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from weightwright.kernels.tiles import butterfly
from weightwright.kernels.vector import (  # fmt: skip
    FAST,
    after_counters,
    exp,
    f32s,
    from_bf16,
    i8s,
    i64s,
    larger,
    nearest,
    ticket,
    to_bf16,
    u8s,
    u16s,
)

F32, BF16, S8, U8 = 0, 1, 2, 3
SILU, GELU_TANH = 0, 1
_SIGNATURE = types.void(types.voidptr)
_OPTIONS: dict[str, Any] = {"cache": True, "fastmath": FAST, "nopython": True, "error_model": "numpy"}


@njit(fastmath=FAST, error_model="numpy")
def load(kind: int, address: int, scale: Any, bias: int, line: Any) -> None:
    """Line = the row at `address` x scale + bias (0: none)."""
    n = len(line)
    if kind == F32:
        whole = f32s(address, n)
        for i in range(n):
            line[i] = whole[i] * scale
    else:
        half = u16s(address, n)
        for i in range(n):
            line[i] = from_bf16(half[i]) * scale
    if bias != 0:
        added = f32s(bias, n)
        for i in range(n):
            line[i] += added[i]


@njit(error_model="numpy")
def rotate_blocks(line: Any, block: int) -> None:
    """Each `block` (16, 32 or 64) neighbours times Hadamard's matrix, in place."""
    start = line.ctypes.data
    for at in range(0, len(line), block):
        if block == 64:
            butterfly(64, start + at * 4)
        elif block == 32:
            butterfly(32, start + at * 4)
        else:
            butterfly(16, start + at * 4)


@njit(fastmath=FAST, error_model="numpy")
def store(kind: int, line: Any, address: int, scales: int, row: int, block: int) -> None:
    """Row number `row` of an array of `kind` at `address` = line; its scale goes to scales[row].

    For int8 each `block` neighbours of the line are rotated first, in place (see `quantize.rotate`); 1: not.
    """
    n = len(line)
    if kind == F32:
        whole = f32s(address + row * n * 4, n)
        for i in range(n):
            whole[i] = line[i]
    elif kind == BF16:
        half = u16s(address + row * n * 2, n)
        for i in range(n):
            half[i] = to_bf16(line[i])
    else:
        shrink = np.float32(1)
        if block > 1:
            shrink = np.float32(1) / np.sqrt(np.float32(block))
            rotate_blocks(line, block)
        top = np.float32(0)
        for i in range(n):
            top = larger(abs(line[i]), top)
        f32s(scales, row + 1)[row] = top * shrink / np.float32(127) if top > 0 else np.float32(1)
        inverse = np.float32(127) / top if top > 0 else np.float32(1)
        if kind == S8:
            signed = i8s(address + row * n, n)
            for i in range(n):
                signed[i] = np.int8(nearest(line[i] * inverse))
        else:
            unsigned = u8s(address + row * n, n)
            for i in range(n):
                unsigned[i] = np.uint8(nearest(line[i] * inverse) + np.int32(128))


@njit(fastmath=FAST, error_model="numpy")
def rms(line: Any, eps: Any) -> Any:
    """1 / root mean square (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4)."""
    total = np.float32(0)
    for i in range(len(line)):
        total += line[i] * line[i]
    return np.float32(1) / np.sqrt(total / np.float32(len(line)) + eps)


@cfunc(_SIGNATURE, **_OPTIONS)
def add_norm(data: Any) -> None:
    """Hidden += y; out = rms_norm(hidden). See `rows.add_norm`."""
    a, real = carray(after_counters(data), (15,), np.int64), carray(after_counters(data), (15,), np.float64)
    n, width, hidden, y, y_kind, y_scales, bias, weight = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    eps, out_kind, out, out_scales, block = np.float32(real[8]), a[9], a[10], a[11], a[12]
    copy_kind, copy = a[13], a[14]
    line = np.empty(width, np.float32)
    w = f32s(weight, width)
    row = ticket(data, 1)
    while row < n:
        stream = f32s(hidden + row * width * 4, width)
        if y != 0:
            scale = f32s(y_scales, n)[row] if y_scales != 0 else np.float32(1)
            load(y_kind, y + row * width * (4 if y_kind == F32 else 2), scale, bias, line)
            for i in range(width):
                stream[i] += line[i]
        factor = rms(stream, eps)
        for i in range(width):
            line[i] = stream[i] * factor * w[i]
        if copy != 0:
            store(copy_kind, line, copy, 0, row, 1)
        store(out_kind, line, out, out_scales, row, block)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def gate(data: Any) -> None:
    """Out = activation(first half of a row) x second half. See `rows.gate`."""
    a = carray(after_counters(data), (13,), np.int64)
    n, width, x, kind, scales, bias, activation = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    out_kind, out, out_scales, block, copy_kind, copy = a[7], a[8], a[9], a[10], a[11], a[12]
    left, right = np.empty(width, np.float32), np.empty(width, np.float32)
    size = 4 if kind == F32 else 2
    row = ticket(data, 1)
    while row < n:
        scale = f32s(scales, n)[row] if scales != 0 else np.float32(1)
        start = x + row * 2 * width * size
        load(kind, start, scale, bias, left)
        load(kind, start + width * size, scale, bias + width * 4 if bias != 0 else bias, right)
        if activation == SILU:
            for i in range(width):
                left[i] = left[i] / (np.float32(1) + exp(-left[i])) * right[i]
        else:  # 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u))
            for i in range(width):
                u = np.float32(0.7978845608) * (left[i] + np.float32(0.044715) * left[i] * left[i] * left[i])
                left[i] = left[i] / (np.float32(1) + exp(np.float32(-2) * u)) * right[i]
        if copy != 0:
            store(copy_kind, left, copy, 0, row, 1)
        store(out_kind, left, out, out_scales, row, block)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def put(data: Any) -> None:
    """Store f32 rows as another kind. See `rows.put`."""
    a = carray(after_counters(data), (9,), np.int64)
    n, width, x, out_kind, out, out_scales, block = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    copy_kind, copy = a[7], a[8]
    row = ticket(data, 1)
    while row < n:
        line = f32s(x + row * width * 4, width)
        if copy != 0:
            store(copy_kind, line, copy, 0, row, 1)
        store(out_kind, line, out, out_scales, row, block)
        row = ticket(data, 1)


@njit(inline="always", fastmath=FAST, error_model="numpy")
def rotate(head: Any, cos: Any, sin: Any, half: int, norm: int, eps: Any, scale: Any) -> None:
    """Norm (if any), rotary embedding of the first 2 x half numbers (arXiv 2104.09864, §3.2.2), scale; in place."""
    if norm != 0:
        weight, factor = f32s(norm, len(head)), rms(head, eps)
        for i in range(len(head)):
            head[i] *= factor * weight[i]
    for i in range(half):
        x, y = head[i], head[i + half]
        head[i] = x * cos[i] - y * sin[i]
        head[i + half] = y * cos[i + half] + x * sin[i + half]
    for i in range(len(head)):
        head[i] *= scale


@njit(inline="always", fastmath=FAST, error_model="numpy")
def keep(kind: int, head: Any, pages: int, place: int, offset: int, step: int, jump: int) -> None:
    """Write one head into the cache: number i goes to place + offset x step + i x jump (in elements)."""
    n = len(head)
    if kind == F32:
        whole = f32s(pages + place * 64 * n, 16 * n)
        for i in range(n):
            whole[offset * step + i * jump] = head[i]
    else:
        half = u16s(pages + place * 32 * n, 16 * n)
        for i in range(n):
            half[offset * step + i * jump] = to_bf16(head[i])


@njit(inline="always", fastmath=FAST, error_model="numpy")
def keep_int8(head: Any, pages: int, scales: int, place: int, offset: int, keys: bool) -> None:
    """Write one head into an int8 cache: its scale, and its numbers where `cache` says they lie."""
    n = len(head)
    top = np.float32(0)
    for i in range(n):
        top = larger(abs(head[i]), top)
    f32s(scales + place * 64, 16)[offset] = top / np.float32(127)
    inverse = np.float32(127) / top if top > 0 else np.float32(0)
    if keys:
        size = (n + 3) // 4 * 64
        unsigned = u8s(pages + place * size, size)
        for i in range(n):
            unsigned[i // 4 * 64 + offset * 4 + i % 4] = np.uint8(nearest(head[i] * inverse) + np.int32(128))
    else:
        signed = i8s(pages + place * 16 * n, 16 * n)
        for i in range(n):
            signed[offset // 4 * 4 * n + offset % 4 + i * 4] = np.int8(nearest(head[i] * inverse))


@cfunc(_SIGNATURE, **_OPTIONS)
def rope(data: Any) -> None:
    """Rows of q|k|v: rotate, keep keys and values in the cache, give queries out. See `rows.rope`."""
    a, real = carray(after_counters(data), (26,), np.int64), carray(after_counters(data), (26,), np.float64)
    n, heads, kv_heads, width, half = a[0], a[1], a[2], a[3], a[4]
    x, kind, scales, bias, cos, sin = a[5], a[6], a[7], a[8], a[9], a[10]
    q_norm, k_norm, eps, scale = a[11], a[12], np.float32(real[13]), np.float32(real[14])
    queries, slots, pages, keys, values = a[15], i64s(a[16], n), a[17], a[18], a[19]
    key_scales, value_scales, fresh_kind, fresh_keys, fresh_values = a[20], a[21], a[22], a[23], a[24]
    total = (heads + 2 * kv_heads) * width
    line = np.empty(total, np.float32)
    one = np.float32(1)
    # tokens of a block lie in the same lines of keys: where there are many, one thread writes them all
    together = 16 if n >= 64 else 1
    row = ticket(data, 1) * together
    while row < n:
        factor = f32s(scales, n)[row] if scales != 0 else one
        load(kind, x + row * total * (4 if kind == F32 else 2), factor, bias, line)
        c, s = f32s(cos + row * half * 8, 2 * half), f32s(sin + row * half * 8, 2 * half)
        for h in range(heads):
            rotate(line[h * width : (h + 1) * width], c, s, half, q_norm, eps, scale)
        store(F32, line[: heads * width], queries, 0, row, 1)
        for h in range(heads, heads + kv_heads):
            rotate(line[h * width : (h + 1) * width], c, s, half, k_norm, eps, one)
        block, offset = slots[row] // 16, slots[row] % 16
        first = heads * width
        second = first + kv_heads * width
        for h in range(kv_heads):
            place = block * kv_heads + h
            key, value = first + h * width, second + h * width
            if pages < S8:
                keep(pages, line[key : key + width], keys, place, offset, 1, 16)
                keep(pages, line[value : value + width], values, place, offset, width, 1)
            else:
                keep_int8(line[key : key + width], keys, key_scales, place, offset, True)
                keep_int8(line[value : value + width], values, value_scales, place, offset, False)
        if fresh_keys != 0:
            store(fresh_kind, line[first:second], fresh_keys, 0, row, 1)
            store(fresh_kind, line[second:], fresh_values, 0, row, 1)
        row += 1
        if row % together == 0:
            row = ticket(data, 1) * together
