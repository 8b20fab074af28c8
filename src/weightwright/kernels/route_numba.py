"""The code of `route`: a stable counting sort."""

from typing import Any

import numpy as np
from numba import carray, cfunc, types

from weightwright.kernels.vector import after_counters, i32s, i64s


@cfunc(types.void(types.voidptr), cache=True, nopython=True, error_model="numpy")
def route(data: Any) -> None:
    """See `route.Route`."""
    a = carray(after_counters(data), (6,), np.int64)
    rows, weights = a[0], a[1]
    ids, starts, order, active = (
        i64s(a[2], rows),
        i32s(a[3], weights + 1),
        i32s(a[4], rows),
        i32s(a[5], weights),
    )
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
