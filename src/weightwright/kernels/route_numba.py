"""The code of `route`: a router's choice, a stable counting sort by it, and the sum over what was chosen."""

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from weightwright.kernels.vector import FAST, after_counters, exp, f32s, i32s, i64s, ticket, u8s

COLUMNS = 256  # of a task
_SIGNATURE = types.void(types.voidptr)
_OPTIONS: dict[str, Any] = {"cache": True, "nopython": True, "error_model": "numpy"}


@njit(error_model="numpy")
def _sort(weights: int, ids: Any, starts: Any, order: Any, active: Any) -> None:
    """Fill the parts of a `route.Route` for ids [rows]."""
    rows = len(ids)
    for e in range(weights + 1):
        starts[e] = 0
    for i in range(rows):
        starts[ids[i] + 1] += 1
    found = 0
    for e in range(weights):
        active[e] = -1
        if starts[e + 1] > 0:
            active[found] = e
            found += 1
        starts[e + 1] += starts[e]
    for i in range(rows):  # each start moves to where its rows end ...
        order[starts[ids[i]]] = i
        starts[ids[i]] += 1
    for e in range(weights, 0, -1):  # ... which is where the next one began
        starts[e] = starts[e - 1]
    starts[0] = 0


@cfunc(_SIGNATURE, **_OPTIONS)
def route(data: Any) -> None:
    """See `route.Route.of`."""
    a = carray(after_counters(data), (6,), np.int64)
    rows, weights = a[0], a[1]
    _sort(weights, i64s(a[2], rows), i32s(a[3], weights + 1), i32s(a[4], rows), i32s(a[5], weights))


@cfunc(_SIGNATURE, **(_OPTIONS | {"fastmath": FAST}))
def scores(data: Any) -> None:
    """Of rows x [rows, width] and a weight [experts, width], f32: their products [rows, experts]."""
    a = carray(after_counters(data), (6,), np.int64)
    rows, experts, width, x, weight, out = a[0], a[1], a[2], a[3], a[4], a[5]
    one = ticket(data, 1)
    while one < experts:
        line = f32s(weight + one * width * 4, width)
        for row in range(rows):
            other = f32s(x + row * width * 4, width)
            total = np.float32(0)
            for i in range(width):
                total += line[i] * other[i]
            f32s(out + (row * experts + one) * 4, 1)[0] = total
        one = ticket(data, 1)


@cfunc(_SIGNATURE, **_OPTIONS)
def choose(data: Any) -> None:
    """See `route.Router`: the softmax of the scores, the `k` largest of it, and the rows by them."""
    a = carray(after_counters(data), (10,), np.int64)
    rows, experts, k, normalised = a[0], a[1], a[2], a[3]
    ids, parts = i64s(a[5], rows * k), f32s(a[6], rows * k)
    for row in range(rows):
        line = f32s(a[4] + row * experts * 4, experts)
        top = line[0]
        for e in range(experts):
            top = max(top, line[e])
        total = np.float32(0)
        for e in range(experts):
            line[e] = exp(line[e] - top)
            total += line[e]
        chosen = np.float32(0)
        for place in range(k):
            best = 0
            for e in range(experts):
                if line[e] > line[best]:
                    best = e
            ids[row * k + place], parts[row * k + place] = best, line[best]
            chosen += line[best]
            line[best] = np.float32(-1)
        total = chosen if normalised else total
        for place in range(k):
            parts[row * k + place] /= total
    _sort(experts, ids, i32s(a[7], experts + 1), i32s(a[8], rows * k), i32s(a[9], experts))


@cfunc(_SIGNATURE, **_OPTIONS)
def gather(data: Any) -> None:
    """See `route.gather`."""
    a = carray(after_counters(data), (8,), np.int64)
    rows, share, width, codes, scales, order, out, out_scales = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    which = i32s(order, rows)
    row = ticket(data, 1)
    while row < rows:
        source = np.int64(which[row]) // share
        line, other = u8s(out + row * width, width), u8s(codes + source * width, width)
        for i in range(width):
            line[i] = other[i]
        f32s(out_scales, rows)[row] = f32s(scales, source + 1)[source]
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **(_OPTIONS | {"fastmath": FAST}))
def combine(data: Any) -> None:
    """See `route.combine`. A task is some of the columns."""
    a = carray(after_counters(data), (9,), np.int64)
    rows, k, width, stride, y, scales, order, weights, out = (
        a[0],
        a[1],
        a[2],
        a[3],
        a[4],
        a[5],
        a[6],
        a[7],
        a[8],
    )
    tasks = (width + COLUMNS - 1) // COLUMNS
    task = ticket(data, 1)
    while task < tasks:
        first = task * COLUMNS
        count = min(COLUMNS, width - first)
        for row in range(rows):
            line = f32s(out + (row * width + first) * 4, count)
            for i in range(count):
                line[i] = np.float32(0)
        for at in range(rows * k):
            one = np.int64(i32s(order, at + 1)[at]) if order != 0 else at
            factor = f32s(weights, one + 1)[one]
            if scales != 0:
                factor *= f32s(scales, at + 1)[at]
            line, other = (
                f32s(out + (one // k * width + first) * 4, count),
                f32s(y + (at * stride + first) * 4, count),
            )
            for i in range(count):
                line[i] += factor * other[i]
        task = ticket(data, 1)
