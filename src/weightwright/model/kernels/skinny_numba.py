"""int8 products of few rows (a skinny matrix product), on the very bytes that oneDNN packed the weight into.

That layout is [outputs / 64][inputs / 4][64][4] bytes, so a group of 64 outputs is one run of memory. Each step of
the innermost loop multiplies 4 inputs of up to 4 rows with 64 outputs (AVX512-VNNI's vpdpbusd: unsigned bytes times
signed ones, four products summed into 32 bits, which no size of layer overflows).
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from weightwright.model.kernels.vector import after_counters, f32s, fetch, i32s, ticket

binding.initialize_native_asmparser()

OUTPUTS = 64  # of a group
PADDING = 64  # oneDNN fills the inputs up to a multiple of it
ROWS = 4  # at most in one pass
_LANES = 16
_STEPS = 4  # of 4 inputs each, unrolled; so the inputs are a multiple of 16
_AHEAD = 2048  # bytes that are fetched ahead
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LINE = ir.VectorType(_I32, _LANES)


@intrinsic(prefer_literal=True)
def dots(
    _context: Any, rows: Any, codes: Any, stride: Any, flip: Any, weight: Any, inputs: Any, sums: Any
) -> Any:
    """sums[r, 0:64] i32 = sum over inputs of unsigned code x signed weight, for each of `rows` (a constant) rows.

    `codes` and `weight` are addresses, `stride` bytes lie between rows of codes, `flip` is xored into 4 codes.
    """
    count = rows.literal_value
    constant = rows

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        _, codes, stride, flip, weight, inputs, sums = arguments
        places = [
            [cgutils.alloca_once_value(b, ir.Constant(_LINE, [0] * _LANES)) for _ in range(4)]
            for _ in range(count)
        ]
        mask = b.trunc(flip, _I32)
        starts = [b.add(codes, b.mul(stride, ir.Constant(_I64, r))) for r in range(count)]
        for r in range(count):
            for c in range(4):
                b.store(ir.Constant(_LINE, [0] * _LANES), places[r][c])
        loops = b.udiv(inputs, ir.Constant(_I64, 4 * _STEPS))
        with cgutils.for_range(b, loops, intp=_I64) as loop:
            base = b.add(weight, b.mul(loop.index, ir.Constant(_I64, 4 * _STEPS * OUTPUTS)))
            at = b.mul(loop.index, ir.Constant(_I64, 4 * _STEPS))
            held = [[b.load(place) for place in line] for line in places]
            for step in range(_STEPS):
                fours = [
                    _splat(b, b.xor(_load(b, b.add(start, at), step * 4, _I32, 4), mask)) for start in starts
                ]
                for c in range(4):
                    offset = (step * 4 + c) * 64
                    fetch(b, b.add(base, ir.Constant(_I64, offset + _AHEAD)))
                    line = _load(b, base, offset, _LINE, 64)
                    for r in range(count):
                        held[r][c] = _vpdpbusd(b, held[r][c], fours[r], line)
            for r in range(count):
                for c in range(4):
                    b.store(held[r][c], places[r][c])
        for r in range(count):
            for c in range(4):
                target = b.inttoptr(b.add(sums, ir.Constant(_I64, (r * 4 + c) * 64)), _LINE.as_pointer())
                b.store(b.load(places[r][c]), target).align = 4
        return context.get_dummy_value()

    return types.void(constant, *[types.int64] * 6), generate


def _load(b: Any, base: Any, offset: int, kind: Any, align: int) -> Any:
    loaded = b.load(b.inttoptr(b.add(base, ir.Constant(_I64, offset)), kind.as_pointer()))
    loaded.align = align
    return loaded


def _splat(b: Any, value: Any) -> Any:
    undefined = ir.Constant(_LINE, ir.Undefined)
    one = b.insert_element(undefined, value, ir.Constant(_I32, 0))
    return b.shuffle_vector(one, undefined, ir.Constant(_LINE, [0] * _LANES))


def _vpdpbusd(b: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """As assembly: LLVM's intrinsic changed its types from version to version."""
    kind = ir.FunctionType(_LINE, [_LINE, _LINE, _LINE])
    code = ir.InlineAsm(kind, "vpdpbusd $3, $2, $0", "=v,0,v,v", side_effect=False)
    return b.call(code, [total, unsigned, signed])


@njit(error_model="numpy")
def _some(rows: int, codes: int, stride: int, flip: int, weight: int, inputs: int, sums: int) -> None:
    if rows == 1:
        dots(1, codes, stride, flip, weight, inputs, sums)
    elif rows == 2:
        dots(2, codes, stride, flip, weight, inputs, sums)
    elif rows == 3:
        dots(3, codes, stride, flip, weight, inputs, sums)
    else:
        dots(4, codes, stride, flip, weight, inputs, sums)


@cfunc(types.void(types.voidptr), cache=True, nopython=True, error_model="numpy")
def few(data: Any) -> None:
    """See `skinny.Skinny`."""
    a = carray(after_counters(data), (9,), np.int64)
    n, inputs, outputs, codes, flip = a[0], a[1], a[2], a[3], a[4]
    weight, less, scale, out = a[5], a[6], a[7], a[8]
    padded = (inputs + PADDING - 1) // PADDING * PADDING
    sums = np.empty(ROWS * OUTPUTS, np.int32)
    scales, offsets = f32s(scale, outputs), i32s(less, outputs)
    group = ticket(data, 1)
    while group * OUTPUTS < outputs:
        first = group * OUTPUTS
        wide = min(OUTPUTS, outputs - first)
        for row in range(0, n, ROWS):
            some = min(ROWS, n - row)
            _some(some, codes + row * inputs, inputs, flip, weight + first * padded, inputs, sums.ctypes.data)
            for r in range(some):
                line = f32s(out + ((row + r) * outputs + first) * 4, wide)
                for i in range(wide):
                    line[i] = np.float32(sums[r * OUTPUTS + i] - offsets[first + i]) * scales[first + i]
        group = ticket(data, 1)
