"""The innermost products of attention over one block of an int8 cache, by AVX512-VNNI's vpdpbusd.

It multiplies four unsigned bytes with four signed ones in each of 16 lanes and adds them to an i32. Keys are
unsigned in the cache, so queries are signed; values are signed, so weights are unsigned: those of a block are held
as 255ths of their largest. Nothing overflows: a sum has at most 256 products of 255 x 127.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from weightwright.model.kernels.vector import accumulated

_LANES = 16
_COLUMNS = 4  # vectors of values in one pass: 16 registers
_F32, _I32 = ir.FloatType(), ir.IntType(32)
_REALS, _WHOLES = ir.VectorType(_F32, _LANES), ir.VectorType(_I32, _LANES)
_LEAST = 1e-30


@intrinsic(prefer_literal=True)
def scores_dots(
    _context: Any, heads: Any, fours: Any, q: Any, starts: Any, factors: Any, k: Any, scales: Any, s: Any, stride: Any
) -> Any:  # fmt: skip
    """s[g, 0:16] = factors[g] scales[0:16] (starts[g] + sum over i of q[g, i] k[i, 0:16]) for `heads` query heads.

    `heads` and `fours` (numbers of a head / 4) are constants, all else addresses; `stride` of s in bytes. starts[g]
    i32 takes back what the keys' zero of 128 adds.
    """
    number, count = heads.literal_value, fours.literal_value

    def emit(b: Any, q: Any, starts: Any, factors: Any, k: Any, scales: Any, s: Any, stride: Any) -> None:
        size = _load(b, scales, 0, _REALS)
        for first in range(0, number, 8):
            group = range(first, min(first + 8, number))
            sums = {g: _splat(b, _load(b, starts, g * 4, _I32)) for g in group}
            for i in range(count):
                keys = _load(b, k, i * 64, _WHOLES)
                for g in group:
                    query = _splat(b, _load(b, q, (g * count + i) * 4, _I32))
                    sums[g] = accumulated(b, "vpdpbusd", sums[g], keys, query)
            for g in group:
                factor = _splat(b, _load(b, factors, g * 4, _F32))
                score = b.fmul(b.sitofp(sums[g], _REALS), b.fmul(size, factor))
                _store(b, b.add(s, b.mul(stride, ir.Constant(stride.type, g))), 0, score)

    return _emitted(emit, 2, 7, heads, fours)


@intrinsic(prefer_literal=True)
def values_dots(
    _context: Any, heads: Any, width: Any, p: Any, stride: Any, v: Any, scales: Any, o: Any
) -> Any:
    """o[g, :] += (p[g, 0:16] scales[0:16]) v for each of `heads` heads.

    `heads` and `width` (a multiple of 16) are constants, all else addresses; `stride` of p in bytes.
    """
    number, wide = heads.literal_value, width.literal_value

    def emit(b: Any, p: Any, stride: Any, v: Any, scales: Any, o: Any) -> None:
        size = _load(b, scales, 0, _REALS)
        codes, factors = [], []
        for g in range(number):
            weights = b.fmul(_load(b, b.add(p, b.mul(stride, ir.Constant(stride.type, g))), 0, _REALS), size)
            top = b.fadd(_largest(b, weights), ir.Constant(_F32, _LEAST))
            step = b.fdiv(ir.Constant(_F32, 255.0), top)
            real = b.fadd(b.fmul(weights, _splat(b, step)), _same(0.5))
            byte = b.trunc(b.fptosi(real, _WHOLES), ir.VectorType(ir.IntType(8), _LANES))
            four = b.bitcast(byte, ir.VectorType(_I32, 4))
            codes.append([b.extract_element(four, ir.Constant(_I32, t)) for t in range(4)])
            factors.append(b.fmul(top, ir.Constant(_F32, 1 / 255)))
        for first in range(0, wide, _COLUMNS * _LANES):
            columns = range(first, min(first + _COLUMNS * _LANES, wide), _LANES)
            values = {(t, c): _load(b, v, (t * wide + c) * 4, _WHOLES) for t in range(4) for c in columns}
            for g in range(number):
                sums = {c: ir.Constant(_WHOLES, [0] * _LANES) for c in columns}
                for t in range(4):
                    weight = _splat(b, codes[g][t])
                    for c in columns:
                        sums[c] = accumulated(b, "vpdpbusd", sums[c], weight, values[t, c])
                factor = _splat(b, factors[g])
                for c in columns:
                    at = (g * wide + c) * 4
                    _store(b, o, at, _fma(b, factor, b.sitofp(sums[c], _REALS), _load(b, o, at, _REALS)))

    return _emitted(emit, 2, 5, heads, width)


def _emitted(emit: Callable[..., None], constants: int, integers: int, *literals: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit(builder, *arguments[constants:])
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * integers), generate


def _load(b: Any, base: Any, offset: int, kind: Any) -> Any:
    loaded = b.load(b.inttoptr(b.add(base, ir.Constant(base.type, offset)), kind.as_pointer()))
    loaded.align = 4
    return loaded


def _store(b: Any, base: Any, offset: int, value: Any) -> None:
    place = b.inttoptr(b.add(base, ir.Constant(base.type, offset)), _REALS.as_pointer())
    b.store(value, place).align = 4


def _splat(b: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, _LANES)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_WHOLES, [0] * _LANES))


def _same(value: float) -> Any:
    return ir.Constant(_REALS, [value] * _LANES)


def _largest(b: Any, x: Any) -> Any:
    kind = ir.FunctionType(_F32, [_REALS])
    return b.call(
        get_or_insert_function(b.module, kind, "llvm.vector.reduce.fmax.v16f32"), [x], fastmath=["nnan"]
    )


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(_REALS, [_REALS] * 3)
    return b.call(get_or_insert_function(b.module, kind, "llvm.fma.v16f32"), [x, y, z])
