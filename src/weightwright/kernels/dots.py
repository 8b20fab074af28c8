"""The innermost products of attention over blocks of an int8 cache, by AVX512-VNNI's vpdpbusd.

It multiplies four unsigned bytes with four signed ones in each of 16 lanes and adds them to an i32. Keys are
unsigned in the cache, so queries are signed; values are signed, so weights are unsigned: those of a block are held
as 255ths of their largest. Blocks come in twos. Nothing overflows: a sum has at most 256 products of 255 x 127.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from weightwright.kernels.vector import accumulated

_LANES = 16
_COLUMNS = 2  # vectors of values in one pass: with two blocks, 16 registers
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_REALS, _WHOLES = ir.VectorType(_F32, _LANES), ir.VectorType(_I32, _LANES)
_LEAST = 1e-30


@intrinsic(prefer_literal=True)
def scores_dots(
    _context: Any, heads: Any, fours: Any, q: Any, starts: Any, factors: Any, k: Any, scales: Any, other_k: Any,
    other_scales: Any, s: Any, stride: Any,
) -> Any:  # fmt: skip
    """s[g, 0:32] = factors[g] scales[0:16] (starts[g] + sum over i of q[g, i] k[i, 0:16]) for two blocks of keys.

    `heads` (query heads g) and `fours` (numbers of a head / 4) are constants, all else addresses; `stride` of s in
    bytes. starts[g] i32 takes back what the keys' zero of 128 adds.
    """
    number, count = heads.literal_value, fours.literal_value

    def emit(b: Any, q: Any, starts: Any, factors: Any, *more: Any) -> None:
        tiles, sizes, s, stride = (
            more[0:4:2],
            [_load(b, at, 0, _REALS) for at in more[1:4:2]],
            more[4],
            more[5],
        )
        for first in range(0, number, 8):
            group = range(first, min(first + 8, number))
            sums = {(g, n): _splat(b, _load(b, starts, g * 4, _I32)) for g in group for n in range(2)}
            for i in range(count):
                keys = [_load(b, tile, i * 64, _WHOLES) for tile in tiles]
                for g in group:
                    query = _splat(b, _load(b, q, (g * count + i) * 4, _I32))
                    for n in range(2):
                        sums[g, n] = accumulated(b, "vpdpbusd", sums[g, n], keys[n], query)
            for g in group:
                factor = _splat(b, _load(b, factors, g * 4, _F32))
                line = b.add(s, b.mul(stride, ir.Constant(stride.type, g)))
                for n in range(2):
                    score = b.fmul(b.sitofp(sums[g, n], _REALS), b.fmul(sizes[n], factor))
                    _store(b, line, n * 64, score)

    return _emitted(emit, 2, 9, heads, fours)


@intrinsic(prefer_literal=True)
def codes_of(
    _context: Any, heads: Any, p: Any, stride: Any, scales: Any, other_scales: Any, codes: Any, factors: Any
) -> Any:
    """codes[g, 0:32] u8 x factors[g] = p[g, 0:32] x the scales of two blocks, for each of `heads` (a constant) heads.

    All else are addresses; `stride` of p in bytes.
    """
    number = heads.literal_value

    def emit(b: Any, p: Any, stride: Any, scales: Any, other_scales: Any, codes: Any, factors: Any) -> None:
        sizes = [_load(b, at, 0, _REALS) for at in (scales, other_scales)]
        for g in range(number):
            line = b.add(p, b.mul(stride, ir.Constant(stride.type, g)))
            weights = [b.fmul(_load(b, line, n * 64, _REALS), sizes[n]) for n in range(2)]
            larger = b.select(b.fcmp_ordered(">", *weights), *weights)
            top = b.fadd(_largest(b, larger), ir.Constant(_F32, _LEAST))
            step = _splat(b, b.fdiv(ir.Constant(_F32, 255.0), top))
            for n in range(2):
                real = _fma(b, weights[n], step, ir.Constant(_REALS, [0.5] * _LANES))
                byte = b.trunc(b.fptosi(real, _WHOLES), ir.VectorType(ir.IntType(8), _LANES))
                _store(b, codes, g * 32 + n * 16, byte)
            _store(b, factors, g * 4, b.fmul(top, ir.Constant(_F32, 1 / 255)))

    return _emitted(emit, 1, 6, heads)


@intrinsic(prefer_literal=True)
def values_dots(
    _context: Any, heads: Any, width: Any, codes: Any, factors: Any, v: Any, other: Any, o: Any
) -> Any:
    """o[g, :] += factors[g] (codes[g, 0:32] values of two blocks) for each of `heads` heads.

    `heads` and `width` (a multiple of 16) are constants, all else addresses.
    """
    number, wide = heads.literal_value, width.literal_value

    def emit(b: Any, codes: Any, factors: Any, v: Any, other: Any, o: Any) -> None:
        for first in range(0, wide, _COLUMNS * _LANES):
            columns = range(first, min(first + _COLUMNS * _LANES, wide), _LANES)
            values = {
                (n * 4 + t, c): _load(b, tile, (t * wide + c) * 4, _WHOLES)
                for n, tile in enumerate((v, other)) for t in range(4) for c in columns
            }  # fmt: skip
            with cgutils.for_range(b, ir.Constant(_I64, number), intp=_I64) as loop:
                own = b.add(codes, b.mul(loop.index, ir.Constant(_I64, 32)))
                sums = {c: ir.Constant(_WHOLES, [0] * _LANES) for c in columns}
                for t in range(8):
                    weight = _splat(b, _load(b, own, t * 4, _I32))
                    for c in columns:
                        sums[c] = accumulated(b, "vpdpbusd", sums[c], weight, values[t, c])
                factor = _splat(b, _load(b, b.add(factors, b.mul(loop.index, ir.Constant(_I64, 4))), 0, _F32))
                line = b.add(o, b.mul(loop.index, ir.Constant(_I64, wide * 4)))
                for c in columns:
                    _store(
                        b,
                        line,
                        c * 4,
                        _fma(b, factor, b.sitofp(sums[c], _REALS), _load(b, line, c * 4, _REALS)),
                    )

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
    place = b.inttoptr(b.add(base, ir.Constant(base.type, offset)), value.type.as_pointer())
    b.store(value, place).align = 1


def _splat(b: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, _LANES)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_WHOLES, [0] * _LANES))


def _largest(b: Any, x: Any) -> Any:
    kind = ir.FunctionType(_F32, [_REALS])
    return b.call(
        get_or_insert_function(b.module, kind, "llvm.vector.reduce.fmax.v16f32"), [x], fastmath=["nnan"]
    )


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(_REALS, [_REALS] * 3)
    return b.call(get_or_insert_function(b.module, kind, "llvm.fma.v16f32"), [x, y, z])
