"""The code of `tree`: compiled once for each kind of numbers and kept on disk by numba.

A task is a segment and one key/value head. The keys and values that its queries see are laid out once for all of
them. Queries go in stretches whose scores fit the second cache.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from weightwright.kernels.entry import entry
from weightwright.kernels.tree_parts_numba import (
    OPTIONS,
    PART,
    STRETCH,
    laying,
    products_of,
    queries_of,
    score_gradient,
    stretch_rows,
    weigh,
    words_of,
    writing,
)  # fmt: skip
from weightwright.kernels.vector import after_counters, i64s, ticket

FIELDS = 7  # of a segment, see `tree.Tree`


def build(kind: int, dots: bool, rows: int, columns: int) -> Any:
    """Compile the forward pass. Arguments: see `tree.attend`."""
    lay, queries, (along, _) = laying(kind, dots), queries_of(kind, dots), words_of(dots)
    write_rows, _ = writing(kind)
    multiply, combine = products_of(dots, rows, columns)
    together, size, span = (2 if dots else 1), (2 if kind else 4), 16 * columns

    @entry("tree", kind, dots, rows, columns, **OPTIONS)
    def attend(data: Any) -> None:
        a = carray(after_counters(data), (20,), np.int64)
        scale = np.float32(carray(after_counters(data), (20,), np.float64)[19])
        group, key_width, value_width = a[16], a[17], a[18]
        padded = (value_width + span - 1) // span * span
        segments, count, ranges, longest, kv_heads, window, out = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
        q, q_step, q_head, k, k_step, k_head = a[7], a[8], a[9], a[10], a[11], a[12]
        v, v_step, v_head = a[13], a[14], a[15]
        wide, step = (longest + span - 1) // span * span, kv_heads * group * value_width * size
        keys = np.empty((wide // 16, key_width // together, 16), np.uint32)
        values, none = np.zeros((wide // together, padded), np.uint32), np.empty((0, 16, 16), np.uint32)
        nothing, no_lines = np.empty((0, key_width), np.uint32), np.empty((0, key_width), np.float32)
        x = np.empty((STRETCH, key_width // together), np.uint32)
        scores = np.empty(STRETCH * (wide + 16), np.float32)
        weights = np.zeros((STRETCH, wide // together), np.uint32)
        sums, zeros = np.empty((STRETCH, padded), np.float32), np.zeros(STRETCH, np.float32)
        number = ticket(data, 1)
        while number < count * kv_heads:
            segment, head = i64s(segments + number // kv_heads * FIELDS * 8, FIELDS), number % kv_heads
            before, own = segment[4], segment[1] * group
            used = (before + segment[1] + span - 1) // span * span
            lay(segment, ranges, k + head * k_head, k_step, key_width, keys[: used // 16], nothing)
            lay(segment, ranges, v + head * v_head, v_step, value_width, none, values[: used // together])
            start, most = q + segment[0] * q_step + head * group * q_head, stretch_rows(used, rows)
            target = out + segment[0] * step + head * group * value_width * size
            for first in range(0, own, most):
                n = min(most, own - first)
                even, seen = (n + rows - 1) // rows * rows, before + (first + n - 1) // group + 1
                reach = (seen + span - 1) // span * span
                lines = scores[: most * (reach + 16)].reshape((most, reach + 16))
                queries(start, q_step, q_head, key_width, group, first, n, x[:even], no_lines)
                multiply(x, even, keys, reach // 16, lines)
                for r in range(n):
                    end = before + (first + r) // group + 1
                    weigh(lines[r, :reach], max(0, end - window) if window > 0 else 0, end, scale)
                    along(lines[r, :reach], weights[r])
                sums[:even] = 0
                combine(weights, even, values, reach // together, zeros, padded, sums)
                write_rows(sums, first, n, value_width, group, step, target)
            number = ticket(data, 1)

    return attend


def _gradient_stretch(dots: bool, rows: int, columns: int) -> Any:
    """One stretch of the backward pass, once its queries and outer gradients are there."""
    along, across = words_of(dots)
    multiply, combine = products_of(dots, rows, columns)
    together = 2 if dots else 1

    @njit(**PART)
    def turned(lines: Any, n: int, width: int, out: Any) -> None:
        """Words [width, n / 2 or n] of the columns of lines [n, width]."""
        words = np.empty(width, np.uint32)
        for r in range(0, n, together):
            across(lines[r], lines[r + together - 1], words, words)
            for d in range(width):
                out[d, r // together] = words[d]

    @njit(**PART)
    def add_columns(lines: Any, own: Any, n: int, width: int, reach: int, room: Any, sums: Any) -> None:
        """Add own [n, width] transposed times lines [n, reach] to sums [width, reach]."""
        columns_of, twos, ones = room
        turned(own, n, width, columns_of)
        for r in range(0, n, 2):
            across(lines[r, :reach], lines[r + 1, :reach], twos[r // together], twos[(r + 1) // together])
        combine(columns_of, width, twos, n // together, ones, reach, sums)

    @njit(**PART)
    def stretch(
        x: Any, outer: Any, own_q: Any, own_o: Any, keys: Any, values: Any, key_pairs: Any, lines: Any, grads: Any,
        weights: Any, room_q: Any, room_o: Any, begin: int, n: int, group: int, window: int, reach: int, scale: Any,
        sums: Any, of_keys: Any, of_values: Any,
    ) -> None:  # fmt: skip
        """Set sums to the gradients of n queries, the first of which is row `begin` of those after all before; add
        those of what they see.
        """
        even = len(x)
        multiply(x, even, keys, reach // 16, lines)
        multiply(outer, even, values, reach // 16, grads)
        for r in range(n):
            end = (begin + r) // group + 1
            weigh(lines[r, :reach], max(0, end - window) if window > 0 else 0, end, scale)
            score_gradient(lines[r, :reach], grads[r, :reach], scale)
            along(grads[r, :reach], weights[r])
        lines[n:even] = 0
        grads[n:even] = 0
        add_columns(lines, own_o, even, own_o.shape[1], reach, room_o, of_values)
        add_columns(grads, own_q, even, own_q.shape[1], reach, room_q, of_keys)
        sums[:even] = 0
        combine(weights, even, key_pairs, reach // together, room_q[2], sums.shape[1], sums)

    return stretch


def build_gradient(kind: int, dots: bool, rows: int, columns: int) -> Any:
    """Compile the backward pass. Arguments: see `tree.gradients`."""
    lay, queries, (write_rows, write_columns) = laying(kind, dots), queries_of(kind, dots), writing(kind)
    stretch = _gradient_stretch(dots, rows, columns)
    together, size, span = (2 if dots else 1), (2 if kind else 4), 16 * columns

    @entry("tree gradient", kind, dots, rows, columns, **OPTIONS)
    def gradient(data: Any) -> None:
        a = carray(after_counters(data), (26,), np.int64)
        scale = np.float32(carray(after_counters(data), (26,), np.float64)[25])
        group, key_width, value_width = a[22], a[23], a[24]
        padded, all_width = (key_width + span - 1) // span * span, key_width + value_width
        segments, count, ranges, longest, kv_heads, window = a[0], a[1], a[2], a[3], a[4], a[5]
        q, q_step, q_head, k, k_step, k_head = a[6], a[7], a[8], a[9], a[10], a[11]
        v, v_step, v_head, o, o_step, o_head = a[12], a[13], a[14], a[15], a[16], a[17]
        grad_q, grad_k, grad_v, scratch = a[18], a[19], a[20], a[21]
        wide, step = (longest + span - 1) // span * span, kv_heads * group * key_width * size
        keys = np.empty((wide // 16, key_width // together, 16), np.uint32)
        values = np.empty((wide // 16, value_width // together, 16), np.uint32)
        key_pairs, nothing = (
            np.zeros((wide // together, padded), np.uint32),
            np.empty((0, value_width), np.uint32),
        )
        x = np.empty((STRETCH, key_width // together), np.uint32)
        outer = np.empty((STRETCH, value_width // together), np.uint32)
        own_q, own_o = (
            np.empty((STRETCH, key_width), np.float32),
            np.empty((STRETCH, value_width), np.float32),
        )
        turned_q = np.empty((key_width, STRETCH // together), np.uint32)
        turned_o = np.empty((value_width, STRETCH // together), np.uint32)
        scores, slopes = (
            np.empty(STRETCH * (wide + 16), np.float32),
            np.empty(STRETCH * (wide + 16), np.float32),
        )
        pairs = np.empty(STRETCH * (wide + 16), np.uint32)
        weights, sums = (
            np.zeros((STRETCH, wide // together), np.uint32),
            np.empty((STRETCH, padded), np.float32),
        )
        of_keys, of_values = (
            np.empty((key_width, wide + 16), np.float32),
            np.empty((value_width, wide + 16), np.float32),
        )
        ones, number = np.ones(STRETCH, np.float32), ticket(data, 1)
        while number < count * kv_heads:
            segment, head = i64s(segments + number // kv_heads * FIELDS * 8, FIELDS), number % kv_heads
            before, own = segment[4], segment[1] * group
            used = (before + segment[1] + span - 1) // span * span
            lay(
                segment,
                ranges,
                k + head * k_head,
                k_step,
                key_width,
                keys[: used // 16],
                key_pairs[: used // together],
            )
            lay(segment, ranges, v + head * v_head, v_step, value_width, values[: used // 16], nothing)
            of_keys[:, :used] = 0
            of_values[:, :used] = 0
            most = stretch_rows(used, 4)
            for first in range(0, own, most):
                n = min(most, own - first)
                even, seen = (n + 3) // 4 * 4, before + (first + n - 1) // group + 1
                reach = (seen + span - 1) // span * span
                shape = most, reach + 16
                lines = scores[: most * (reach + 16)].reshape(shape)
                grads, twos = slopes[: lines.size].reshape(shape), pairs[: lines.size].reshape(shape)
                queries(q + segment[0] * q_step + head * group * q_head, q_step, q_head, key_width, group, first, n,
                        x[:even], own_q[:even])  # fmt: skip
                queries(o + segment[0] * o_step + head * group * o_head, o_step, o_head, value_width, group, first, n,
                        outer[:even], own_o[:even])  # fmt: skip
                stretch(x[:even], outer[:even], own_q, own_o, keys, values, key_pairs, lines, grads, weights,
                        (turned_q, twos, ones), (turned_o, twos, ones), before * group + first, n, group, window,
                        reach, scale, sums, of_keys, of_values)  # fmt: skip
                write_rows(sums, first, n, key_width, group, step,
                           grad_q + segment[0] * step + head * group * key_width * size)  # fmt: skip
            write_columns(of_keys, segment, head, kv_heads, key_width, grad_k, scratch, all_width)
            write_columns(
                of_values, segment, head, kv_heads, value_width, grad_v, scratch + key_width * 4, all_width
            )
            number = ticket(data, 1)

    return gradient
