"""int8 products on the very bytes that oneDNN packed the weight into; the weight streams once from memory.

That layout is [outputs / 64][inputs / 4][64][4] bytes, so a group of 64 outputs is one run of memory. Each step of
the innermost loop multiplies 4 inputs of a few rows with 64 outputs (AVX512-VNNI's vpdpbusd: unsigned bytes times
signed ones, four products summed into 32 bits, which no size of layer overflows). A stretch of the inputs goes
through all rows of a block before the next does, so that its weights stay in the nearest cache.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from weightwright.kernels.vector import accumulated, after_counters, f32s, fetch, i32s, i64s, ticket

OUTPUTS = 64  # of a group
PADDING = 64  # oneDNN fills the inputs up to a multiple of it
ROWS = 6  # at most in one pass of the innermost loop: 24 registers of sums
BLOCK = 24  # rows that share a stretch of weights in the nearest cache
STRETCH = 448  # inputs of a stretch
_LANES = 16
_STEPS = 4  # of 4 inputs each, unrolled; so the inputs are a multiple of 16
_AHEAD = 2048  # bytes that are fetched ahead
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LINE = ir.VectorType(_I32, _LANES)


@intrinsic(prefer_literal=True)
def dots(
    _context: Any, rows: Any, ahead: Any, codes: Any, stride: Any, weight: Any, inputs: Any, sums: Any
) -> Any:
    """sums[r, 0:64] i32 += over inputs of unsigned code x signed weight, for each of `rows` (a constant) rows.

    `codes`, `weight` and `sums` are addresses, `stride` bytes lie between rows of codes; with `ahead` (a constant, 0
    or 1) the weights come from memory and are fetched ahead.
    """
    count, far = rows.literal_value, bool(ahead.literal_value)
    every = [(r, c) for r in range(count) for c in range(4)]

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        _, _, codes, stride, weight, inputs, sums = arguments
        places = {one: cgutils.alloca_once(b, _LINE) for one in every}
        for r, c in every:
            b.store(_load(b, sums, (r * 4 + c) * 64, _LINE, 4), places[r, c])
        starts = [b.add(codes, b.mul(stride, ir.Constant(_I64, r))) for r in range(count)]
        loops = b.udiv(inputs, ir.Constant(_I64, 4 * _STEPS))
        with cgutils.for_range(b, loops, intp=_I64) as loop:
            base = b.add(weight, b.mul(loop.index, ir.Constant(_I64, 4 * _STEPS * OUTPUTS)))
            at = b.mul(loop.index, ir.Constant(_I64, 4 * _STEPS))
            held = {one: b.load(place) for one, place in places.items()}
            for step in range(_STEPS):
                fours = [_splat(b, _load(b, b.add(start, at), step * 4, _I32, 4)) for start in starts]
                for c in range(4):
                    offset = (step * 4 + c) * 64
                    if far:
                        fetch(b, b.add(base, ir.Constant(_I64, offset + _AHEAD)))
                    line = _load(b, base, offset, _LINE, 64)
                    for r in range(count):
                        held[r, c] = accumulated(b, "vpdpbusd", held[r, c], fours[r], line)
            for one, place in places.items():
                b.store(held[one], place)
        for r, c in every:
            target = b.inttoptr(b.add(sums, ir.Constant(_I64, (r * 4 + c) * 64)), _LINE.as_pointer())
            b.store(b.load(places[r, c]), target).align = 4
        return context.get_dummy_value()

    return types.void(rows, ahead, *[types.int64] * 5), generate


def _load(b: Any, base: Any, offset: int, kind: Any, align: int) -> Any:
    loaded = b.load(b.inttoptr(b.add(base, ir.Constant(_I64, offset)), kind.as_pointer()))
    loaded.align = align
    return loaded


def _splat(b: Any, value: Any) -> Any:
    undefined = ir.Constant(_LINE, ir.Undefined)
    one = b.insert_element(undefined, value, ir.Constant(_I32, 0))
    return b.shuffle_vector(one, undefined, ir.Constant(_LINE, [0] * _LANES))


def _passes(ahead: int) -> Any:
    """`dots` for any number of rows up to ROWS, which it must know as a constant."""

    @njit(error_model="numpy")
    def run(rows: int, codes: int, stride: int, weight: int, inputs: int, sums: int) -> None:
        if rows == 1:
            dots(1, ahead, codes, stride, weight, inputs, sums)
        elif rows == 2:
            dots(2, ahead, codes, stride, weight, inputs, sums)
        elif rows == 3:
            dots(3, ahead, codes, stride, weight, inputs, sums)
        elif rows == 4:
            dots(4, ahead, codes, stride, weight, inputs, sums)
        elif rows == 5:
            dots(5, ahead, codes, stride, weight, inputs, sums)
        else:
            dots(6, ahead, codes, stride, weight, inputs, sums)

    return run


_far, _near = (
    _passes(1),
    _passes(0),
)  # the first rows of a block bring the weights; for the others they are there


@njit(error_model="numpy")
def _outputs(
    n: int, inputs: int, outputs: int, first: int, codes: int, weight: int, less: int, scale: int, row_scale: int,
    out: int, sums: Any,
) -> None:  # fmt: skip
    """The outputs `first` to first + 64 of n rows, at most BLOCK, whose codes, scales and outputs begin there."""
    padded = (inputs + PADDING - 1) // PADDING * PADDING
    wide = min(OUTPUTS, outputs - first)
    scales, offsets = f32s(scale, outputs), i32s(less, outputs)
    for i in range(n * OUTPUTS):
        sums[i] = 0
    for start in range(0, inputs, STRETCH):
        some = min(STRETCH, inputs - start)
        strip = weight + first * padded + start * OUTPUTS
        for row in range(0, n, ROWS):
            count, source = min(ROWS, n - row), codes + row * inputs + start
            if row == 0:
                _far(count, source, inputs, strip, some, sums.ctypes.data)
            else:
                _near(count, source, inputs, strip, some, sums.ctypes.data + row * OUTPUTS * 4)
    for row in range(n):
        line = f32s(out + (row * outputs + first) * 4, wide)
        for i in range(wide):
            line[i] = np.float32(sums[row * OUTPUTS + i] - offsets[first + i]) * scales[first + i]
        if row_scale != 0:
            factor = f32s(row_scale, n)[row]
            for i in range(wide):
                line[i] *= factor


@cfunc(types.void(types.voidptr), cache=True, nopython=True, error_model="numpy")
def product(data: Any) -> None:
    """See `skinny.Skinny`. A task is a group of outputs for a block of rows."""
    a = carray(after_counters(data), (9,), np.int64)
    n, inputs, outputs, codes, weight, less, scale = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    row_scale, out = a[7], a[8]
    sums = np.empty(BLOCK * OUTPUTS, np.int32)
    blocks, groups = (n + BLOCK - 1) // BLOCK, (outputs + OUTPUTS - 1) // OUTPUTS
    task = ticket(data, 1)
    while task < blocks * groups:
        top = task % blocks * BLOCK
        _outputs(
            min(BLOCK, n - top), inputs, outputs, task // blocks * OUTPUTS, codes + top * inputs, weight, less, scale,
            row_scale + top * 4 if row_scale != 0 else row_scale, out + top * outputs * 4, sums,
        )  # fmt: skip
        task = ticket(data, 1)


@cfunc(types.void(types.voidptr), cache=True, nopython=True, error_model="numpy")
def several(data: Any) -> None:
    """See `skinny.Several`. A task is a group of outputs of one weight, for all its rows."""
    a = carray(after_counters(data), (8,), np.int64)
    weights, inputs, outputs, table, starts, active, codes, out = (
        a[0],
        a[1],
        a[2],
        a[3],
        a[4],
        a[5],
        a[6],
        a[7],
    )
    where, begin, chosen = i64s(table, weights * 3), i32s(starts, weights + 1), i32s(active, weights)
    sums = np.empty(BLOCK * OUTPUTS, np.int32)
    groups = (outputs + OUTPUTS - 1) // OUTPUTS
    many = 0
    while many < weights and chosen[many] >= 0:
        many += 1
    task = ticket(data, 1)
    while task < many * groups:
        one, first = np.int64(chosen[task // groups]), task % groups * OUTPUTS
        for top in range(begin[one], begin[one + 1], BLOCK):
            _outputs(
                min(BLOCK, begin[one + 1] - top), inputs, outputs, first, codes + top * inputs, where[3 * one],
                where[3 * one + 1], where[3 * one + 2], 0, out + top * outputs * 4, sums,
            )  # fmt: skip
        task = ticket(data, 1)
