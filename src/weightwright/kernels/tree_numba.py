"""The code of `tree`: compiled once for each shape and kept on disk by numba.

A task is a segment and one key/value head. The keys and values that its queries see are laid out once for all of
them, as numbers of 32 bits: f32, or two bf16 beside each other that one instruction (AVX512-BF16's vdpbf16ps)
multiplies and adds to an f32 sum. Queries go in stretches whose scores fit the second cache.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from weightwright.kernels.elementwise_numba import F32
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
    to_bf16,
    twins,
    u16s,
)

FIELDS = 7  # of a segment, see `tree.Tree`
STRETCH = 64  # rows of queries, fewer where they see much
_SCORES = 64 * 1024  # numbers in a stretch's scores
_ONE = np.float32(1)
_OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}


def _lines(kind: int) -> tuple[Any, Any]:
    """A row of numbers of `kind` as a line of f32, and back."""

    @njit(**_OPTIONS)
    def load(address: int, line: Any) -> None:
        whole, half = f32s(address, len(line)), u16s(address, len(line))
        for i in range(len(line)):
            line[i] = whole[i] if kind == F32 else from_bf16(half[i])

    @njit(**_OPTIONS)
    def store(line: Any, address: int) -> None:
        whole, half = f32s(address, len(line)), u16s(address, len(line))
        for i in range(len(line)):
            if kind == F32:
                whole[i] = line[i]
            else:
                half[i] = to_bf16(line[i])

    return load, store


def _words(dots: bool) -> tuple[Any, Any]:
    """How numbers become words: a line's own, one behind the other, and those of two lines, place by place."""

    @njit(**_OPTIONS)
    def along(line: Any, out: Any) -> None:
        """Words [n or n / 2] of a line's numbers."""
        if dots:
            for i in range(0, len(line), 16):
                halves(line.ctypes.data + i * 4, out.ctypes.data + i * 2)
        else:
            out.view(np.float32)[: len(line)] = line

    @njit(**_OPTIONS)
    def across(first: Any, second: Any, out: Any, other: Any) -> None:
        """Words [n] with the same place of two lines; without pairs `other` takes the second's."""
        if dots:
            for i in range(0, len(first), 16):
                twins(first.ctypes.data + i * 4, second.ctypes.data + i * 4, out.ctypes.data + i * 4)
        else:
            out.view(np.float32)[: len(first)] = first
            other.view(np.float32)[: len(second)] = second

    return along, across


@njit(**_OPTIONS)
def weigh(line: Any, begin: int, end: int, scale: Any) -> None:
    """Scores become softmax(scale x score) between begin and end, 0 elsewhere."""
    seen, top, total = line[begin:end], np.float32(-3e38), np.float32(0)
    for t in range(len(seen)):
        top = larger(seen[t], top)
    for t in range(len(seen)):
        seen[t] = exp(scale * (seen[t] - top))
        total += seen[t]
    share = _ONE / total
    for t in range(len(seen)):
        seen[t] *= share
    line[:begin] = 0
    line[end:] = 0


@njit(**_OPTIONS)
def score_gradient(weights: Any, grad: Any, scale: Any) -> None:
    """The gradient of a line of weights becomes that of its scores: scale x weight x (gradient - mean)."""
    along = np.float32(0)
    for t in range(len(weights)):
        along += weights[t] * grad[t]
    for t in range(len(weights)):
        grad[t] = scale * weights[t] * (grad[t] - along)


def _lay(kind: int, dots: bool) -> Any:
    """Lay out the keys or values of all that a segment sees."""
    (load, _), (along, across) = _lines(kind), _words(dots)
    together = 2 if dots else 1

    @njit(**_OPTIONS)
    def by_token(table: Any, t: int, words: Any) -> None:
        """The words of token t as a column of its block of 16."""
        block, lane = table[t // 16], t % 16
        for i in range(len(words)):
            block[i, lane] = words[i]

    @njit(**_OPTIONS)
    def lay(segment: Any, ranges: int, base: int, step: int, width: int, table: Any, pairs: Any) -> None:
        """Into table [blocks, words, 16], and pairs [tokens, width] of tokens; either may be empty.

        `base` is where the head's numbers of token 0 stand, `step` bytes go to the next token.
        """
        lines, words = np.zeros((2, pairs.shape[1]), np.float32), np.empty(width // together, np.uint32)
        seen = i64s(ranges + segment[2] * 16, (segment[3] + 1) * 2)
        t = 0
        for part in range(segment[3] + 1):
            first, end = segment[0], segment[0] + segment[1]
            if part < segment[3]:
                first, end = seen[2 * part], seen[2 * part + 1]
            for token in range(first, end):
                line = lines[t % together]
                load(base + token * step, line[:width])
                if len(table):
                    along(line[:width], words)
                    by_token(table, t, words)
                t += 1
                if len(pairs) and t % together == 0:
                    across(lines[0], lines[together - 1], pairs[t // together - 1], pairs[t // together - 1])
        if len(pairs):
            if t % together:
                lines[1] = 0
                across(lines[0], lines[1], pairs[t // together], pairs[t // together])
            pairs[(t + together - 1) // together :] = 0
        for at in range(t, len(table) * 16):
            words[:] = 0
            by_token(table, at, words)

    return lay


def _products(dots: bool, rows: int, columns: int) -> tuple[Any, Any]:
    """Products of words, in tiles of `rows` by `columns` vectors."""
    form, span = (DOTS if dots else WHOLE), 16 * columns

    @njit(**_OPTIONS)
    def multiply(x: Any, n: int, table: Any, blocks: int, out: Any) -> None:
        """Set out [n, 16 blocks] to words x [n, words] times the blocks of a table."""
        words = x.shape[1]
        for block in range(0, blocks, columns):
            for row in range(0, n, rows):
                products(rows, columns, form, 0, x[row].ctypes.data, words * 4, table[block].ctypes.data, 64,
                         words * 64, words, out[row].ctypes.data + block * 64, out.shape[1] * 4, 0)  # fmt: skip

    @njit(**_OPTIONS)
    def combine(x: Any, n: int, table: Any, count: int, ones: Any, width: int, out: Any) -> None:
        """Add words x [n, count] times table [count, width] to out [n, width] times `ones`."""
        for column in range(0, width, span):
            for row in range(0, n, rows):
                products(rows, columns, form, 1, x[row].ctypes.data, x.shape[1] * 4,
                         table.ctypes.data + column * 4, table.shape[1] * 4, 64, count,
                         out[row].ctypes.data + column * 4, out.shape[1] * 4, ones.ctypes.data)  # fmt: skip

    return multiply, combine


def _queries(kind: int, dots: bool) -> Any:
    """Bring the queries of a stretch, or their outer gradients."""
    (load, _), (along, _) = _lines(kind), _words(dots)

    @njit(**_OPTIONS)
    def queries(
        base: int, step: int, head: int, width: int, group: int, first: int, n: int, x: Any, lines: Any
    ) -> None:
        """Words x [n, words] of a segment's rows from `first` on, and their numbers as lines, where there is room.

        Row r is head r modulo `group` of token r // group; what is behind the n rows is 0.
        """
        line = np.empty(width, np.float32)
        for r in range(n):
            load(base + (first + r) // group * step + (first + r) % group * head, line)
            along(line, x[r])
            if len(lines):
                lines[r, :width] = line
        x[n:] = 0
        if len(lines):
            lines[n:] = 0

    return queries


@njit(**_OPTIONS)
def stretch_rows(seen: int, rows: int) -> int:
    """Rows of queries that are looked at together where they see so many tokens."""
    return max(16, min(STRETCH, _SCORES // seen // 16 * 16)) // rows * rows


def _written(kind: int) -> tuple[Any, Any]:
    """What a stretch and a segment found, to where it belongs."""
    size, (_, store) = (2 if kind else 4), _lines(kind)

    @njit(**_OPTIONS)
    def write_rows(sums: Any, first: int, n: int, width: int, group: int, token_step: int, out: int) -> None:
        """Rows of sums to the group's heads of a segment's tokens, `token_step` bytes apart."""
        for r in range(n):
            at = out + (first + r) // group * token_step + (first + r) % group * width * size
            store(sums[r, :width], at)

    @njit(**_OPTIONS)
    def write_columns(
        sums: Any, segment: Any, head: int, kv_heads: int, width: int, out: int, scratch: int, all_width: int
    ) -> None:
        """Columns of sums [width, tokens] as rows: of own tokens to `out`, of shared ones to scratch."""
        line = np.empty(width, np.float32)
        for t in range(segment[4] + segment[1]):
            for d in range(width):
                line[d] = sums[d, t]
            if t >= segment[4]:
                token = segment[0] + t - segment[4]
                store(line, out + (token * kv_heads + head) * width * size)
            if t < segment[6]:
                f32s(scratch + ((segment[5] + t) * kv_heads + head) * all_width * 4, width)[:] = line

    return write_rows, write_columns


def build(kind: int, dots: bool, rows: int, columns: int) -> Any:
    """Compile the forward pass. Arguments: see `tree.attend`."""
    lay, queries, (along, _) = _lay(kind, dots), _queries(kind, dots), _words(dots)
    write_rows, _ = _written(kind)
    multiply, combine = _products(dots, rows, columns)
    together, size, span = (2 if dots else 1), (2 if kind else 4), 16 * columns

    @entry("tree", kind, dots, rows, columns, **_OPTIONS)
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
    along, across = _words(dots)
    multiply, combine = _products(dots, rows, columns)
    together = 2 if dots else 1

    @njit(**_OPTIONS)
    def turned(lines: Any, n: int, width: int, out: Any) -> None:
        """Words [width, n / 2 or n] of the columns of lines [n, width]."""
        words = np.empty(width, np.uint32)
        for r in range(0, n, together):
            across(lines[r], lines[r + together - 1], words, words)
            for d in range(width):
                out[d, r // together] = words[d]

    @njit(**_OPTIONS)
    def add_columns(lines: Any, own: Any, n: int, width: int, reach: int, room: Any, sums: Any) -> None:
        """Add own [n, width] transposed times lines [n, reach] to sums [width, reach]."""
        columns_of, twos, ones = room
        turned(own, n, width, columns_of)
        for r in range(0, n, 2):
            across(lines[r, :reach], lines[r + 1, :reach], twos[r // together], twos[(r + 1) // together])
        combine(columns_of, width, twos, n // together, ones, reach, sums)

    @njit(**_OPTIONS)
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
    lay, queries, (write_rows, write_columns) = _lay(kind, dots), _queries(kind, dots), _written(kind)
    stretch = _gradient_stretch(dots, rows, columns)
    together, size, span = (2 if dots else 1), (2 if kind else 4), 16 * columns

    @entry("tree gradient", kind, dots, rows, columns, **_OPTIONS)
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
