"""What the kernels of `tree` are made of: how keys, values and queries are laid out, multiplied and written back.

Numbers become words of 32 bits: f32, or two bf16 beside each other that one instruction (AVX512-BF16's vdpbf16ps)
multiplies and adds to an f32 sum.
"""

from typing import Any

import numpy as np
from numba import njit

from weightwright.kernels.elementwise_numba import F32
from weightwright.kernels.tiles import DOTS, WHOLE, products
from weightwright.kernels.vector import FAST, exp, f32s, from_bf16, halves, i64s, larger, to_bf16, twins, u16s

STRETCH = 64  # rows of queries, fewer where they see much
_SCORES = 64 * 1024  # numbers in a stretch's scores
_ONE = np.float32(1)
OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}
# A part that is called, and not inlined, is found compiled by itself in the process that compiles it, but as a copy
# within the whole where that comes from disk; both may round otherwise.
PART: dict[str, Any] = {**OPTIONS, "forceinline": True}


def lines_of(kind: int) -> tuple[Any, Any]:
    """A row of numbers of `kind` as a line of f32, and back."""

    @njit(**PART)
    def load(address: int, line: Any) -> None:
        whole, half = f32s(address, len(line)), u16s(address, len(line))
        for i in range(len(line)):
            line[i] = whole[i] if kind == F32 else from_bf16(half[i])

    @njit(**PART)
    def store(line: Any, address: int) -> None:
        whole, half = f32s(address, len(line)), u16s(address, len(line))
        for i in range(len(line)):
            if kind == F32:
                whole[i] = line[i]
            else:
                half[i] = to_bf16(line[i])

    return load, store


def words_of(dots: bool) -> tuple[Any, Any]:
    """How numbers become words: a line's own, one behind the other, and those of two lines, place by place."""

    @njit(**PART)
    def along(line: Any, out: Any) -> None:
        """Words [n or n / 2] of a line's numbers."""
        if dots:
            for i in range(0, len(line), 16):
                halves(line.ctypes.data + i * 4, out.ctypes.data + i * 2)
        else:
            out.view(np.float32)[: len(line)] = line

    @njit(**PART)
    def across(first: Any, second: Any, out: Any, other: Any) -> None:
        """Words [n] with the same place of two lines; without pairs `other` takes the second's."""
        if dots:
            for i in range(0, len(first), 16):
                twins(first.ctypes.data + i * 4, second.ctypes.data + i * 4, out.ctypes.data + i * 4)
        else:
            out.view(np.float32)[: len(first)] = first
            other.view(np.float32)[: len(second)] = second

    return along, across


@njit(**PART)
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


@njit(**PART)
def score_gradient(weights: Any, grad: Any, scale: Any) -> None:
    """The gradient of a line of weights becomes that of its scores: scale x weight x (gradient - mean)."""
    along = np.float32(0)
    for t in range(len(weights)):
        along += weights[t] * grad[t]
    for t in range(len(weights)):
        grad[t] = scale * weights[t] * (grad[t] - along)


def laying(kind: int, dots: bool) -> Any:
    """Lay out the keys or values of all that a segment sees."""
    (load, _), (along, across) = lines_of(kind), words_of(dots)
    together = 2 if dots else 1

    @njit(**PART)
    def by_token(table: Any, t: int, words: Any) -> None:
        """The words of token t as a column of its block of 16."""
        block, lane = table[t // 16], t % 16
        for i in range(len(words)):
            block[i, lane] = words[i]

    @njit(**PART)
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


def products_of(dots: bool, rows: int, columns: int) -> tuple[Any, Any]:
    """Products of words, in tiles of `rows` by `columns` vectors."""
    form, span = (DOTS if dots else WHOLE), 16 * columns

    @njit(**PART)
    def multiply(x: Any, n: int, table: Any, blocks: int, out: Any) -> None:
        """Set out [n, 16 blocks] to words x [n, words] times the blocks of a table."""
        words = x.shape[1]
        for block in range(0, blocks, columns):
            for row in range(0, n, rows):
                products(rows, columns, form, 0, x[row].ctypes.data, words * 4, table[block].ctypes.data, 64,
                         words * 64, words, out[row].ctypes.data + block * 64, out.shape[1] * 4, 0)  # fmt: skip

    @njit(**PART)
    def combine(x: Any, n: int, table: Any, count: int, ones: Any, width: int, out: Any) -> None:
        """Add words x [n, count] times table [count, width] to out [n, width] times `ones`."""
        for column in range(0, width, span):
            for row in range(0, n, rows):
                products(rows, columns, form, 1, x[row].ctypes.data, x.shape[1] * 4,
                         table.ctypes.data + column * 4, table.shape[1] * 4, 64, count,
                         out[row].ctypes.data + column * 4, out.shape[1] * 4, ones.ctypes.data)  # fmt: skip

    return multiply, combine


def queries_of(kind: int, dots: bool) -> Any:
    """Bring the queries of a stretch, or their outer gradients."""
    (load, _), (along, _) = lines_of(kind), words_of(dots)

    @njit(**PART)
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


@njit(**PART)
def stretch_rows(seen: int, rows: int) -> int:
    """Rows of queries that are looked at together where they see so many tokens."""
    return max(16, min(STRETCH, _SCORES // seen // 16 * 16)) // rows * rows


def writing(kind: int) -> tuple[Any, Any]:
    """What a stretch and a segment found, to where it belongs."""
    size, (_, store) = (2 if kind else 4), lines_of(kind)

    @njit(**PART)
    def write_rows(sums: Any, first: int, n: int, width: int, group: int, token_step: int, out: int) -> None:
        """Rows of sums to the group's heads of a segment's tokens, `token_step` bytes apart."""
        for r in range(n):
            at = out + (first + r) // group * token_step + (first + r) % group * width * size
            store(sums[r, :width], at)

    @njit(**PART)
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
