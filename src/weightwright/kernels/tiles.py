"""The innermost products as straight vector code: of attention over one block of the cache, and of any few rows.

`scores_tile`: s[g, t] = sum over d of q[g, d] k[d, t], and `values_tile`: o[g, d] += sum over t of
p[g, t] v[t, d], for the G query heads that share a key/value head and the 16 tokens of a block. Keys lie
transposed in a block ([width, tokens]) so that both broadcast a scalar against a vector of 16: no sum
across lanes, and LLVM maps a vector of 16 f32 to whatever the CPU has. In int8 four numbers lie together (see
`cache`); where the CPU has an instruction for that, `dots` takes the place of these tiles.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from weightwright.kernels.vector import accumulated

LANES = 16
_F32 = ir.FloatType()
_VECTOR = ir.VectorType(_F32, LANES)
_BYTES = {"f32": 4, "bf16": 2}
_UNSIGNED = 128  # what turns an unsigned byte around 128 into a signed one

KINDS = ("f32", "bf16", "int8")
WHOLE, HALVES, DOTS = 0, 1, 2  # how `products` takes numbers


def tile_bytes(key_width: int, value_width: int, kind: str) -> tuple[int, int]:
    """Bytes of one key/value head's keys and values in a block of the cache."""
    if kind == "int8":
        return (key_width + 3) // 4 * 4 * LANES, value_width * LANES
    return key_width * LANES * _BYTES[kind], value_width * LANES * _BYTES[kind]


@intrinsic(prefer_literal=True)
def scores_tile(_context: Any, heads: Any, width: Any, kind: Any, q: Any, k: Any, s: Any, stride: Any) -> Any:
    """s[g, 0:16] for each of `heads` query heads; q, k, s are addresses, `stride` of s in elements.

    `heads`, `width` and `kind` (an index of KINDS) are constants.
    """
    constants = (heads, width, kind)
    heads, width, kind = heads.literal_value, width.literal_value, KINDS[kind.literal_value]

    def emit(b: Any, q: Any, k: Any, s: Any, stride: Any) -> None:
        for first in range(0, heads, 8):
            group = range(first, min(first + 8, heads))
            chains = max(1, 8 // len(group))  # independent sums hide the latency of a multiply-add
            sums = {(g, c): _zero() for g in group for c in range(chains)}
            for d in range(width):
                if kind == "int8":
                    keys = _one_of_four(b, k, d // 4 * LANES * 4, d % 4, _UNSIGNED)
                else:
                    keys = _load(b, k, d * LANES, kind)
                for g in group:
                    query = _splat(b, _scalar(b, q, g * width + d))
                    sums[g, d % chains] = _fma(b, query, keys, sums[g, d % chains])
            for g in group:
                total = sums[g, 0]
                for c in range(1, chains):
                    total = b.fadd(total, sums[g, c])
                _store(b, s, b.mul(stride, ir.Constant(stride.type, g)), total)

    return _emitted(emit, constants)


@intrinsic(prefer_literal=True)
def values_tile(_context: Any, heads: Any, width: Any, kind: Any, p: Any, stride: Any, v: Any, o: Any) -> Any:
    """o[g, :] += p[g, 0:16] v for each of `heads` heads; p, v, o are addresses, `stride` of p in elements.

    `heads`, `width` (a multiple of 16) and `kind` (an index of KINDS) are constants.
    """
    constants = (heads, width, kind)
    heads, width, kind = heads.literal_value, width.literal_value, KINDS[kind.literal_value]

    def emit(b: Any, p: Any, stride: Any, v: Any, o: Any) -> None:
        for first in range(0, heads, 8):
            group = range(first, min(first + 8, heads))
            vectors = 2 if len(group) > 4 else 4
            for start in range(0, width, vectors * LANES):
                columns = range(start, min(start + vectors * LANES, width), LANES)
                sums = {(g, c): _load(b, o, g * width + c, "f32") for g in group for c in columns}
                for t in range(LANES):
                    if kind == "int8":
                        rows = {c: _one_of_four(b, v, (t // 4 * width + c) * 4, t % 4, 0) for c in columns}
                    else:
                        rows = {c: _load(b, v, t * width + c, kind) for c in columns}
                    for g in group:
                        at = b.add(b.mul(stride, ir.Constant(stride.type, g)), ir.Constant(stride.type, t))
                        weight = _splat(b, _scalar(b, p, at))
                        for c in columns:
                            sums[g, c] = _fma(b, weight, rows[c], sums[g, c])
                for (g, c), total in sums.items():
                    _store(b, o, g * width + c, total)

    return _emitted(emit, constants)


@intrinsic(prefer_literal=True)
def butterfly(_context: Any, block: Any, address: Any) -> Any:
    """Sylvester's Hadamard matrix times `block` f32 at an address, in place, without the division by its root.

    `block` is a constant, a power of two from 16 to 64. Within a vector a number meets its partner by a shuffle.
    """
    vectors = block.literal_value // LANES

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        lanes = [_load(b, arguments[1], v * LANES, "f32") for v in range(vectors)]
        index = ir.VectorType(ir.IntType(32), LANES)
        for distance in (1, 2, 4, 8):
            partner = ir.Constant(index, [lane ^ distance for lane in range(LANES)])
            sign = ir.Constant(_VECTOR, [-1.0 if lane & distance else 1.0 for lane in range(LANES)])
            undefined = ir.Constant(_VECTOR, ir.Undefined)
            lanes = [_fma(b, x, sign, b.shuffle_vector(x, undefined, partner)) for x in lanes]
        distance = 1
        while distance < vectors:
            lanes = [
                b.fsub(lanes[v ^ distance], x) if v & distance else b.fadd(x, lanes[v ^ distance])
                for v, x in enumerate(lanes)
            ]
            distance *= 2
        for v, x in enumerate(lanes):
            _store(b, arguments[1], v * LANES, x)
        return context.get_dummy_value()

    return types.void(block, types.int64), generate  # the constant is what tells one form from another


@intrinsic(prefer_literal=True)
def products(
    _context: Any, rows: Any, vectors: Any, form: Any, scaled: Any, x: Any, x_step: Any, table: Any, step: Any,
    column: Any, count: Any, out: Any, out_step: Any, factors: Any,
) -> Any:  # fmt: skip
    """out[r, v] = (with `scaled`: factors[r] out[r, v] +) sum over i < count of x[r, i] table[i, v].

    For `rows` rows r and `vectors` vectors v of 16 f32; both are constants, and so are `form` and `scaled` (0 or
    1). Numbers are f32 (WHOLE) or pairs of bf16 (DOTS: an i is a pair, multiplied by AVX512-BF16's vdpbf16ps;
    HALVES: x has two f32 for it). Steps are in bytes: of x and out to the next row, of the table to the next i,
    `column` to the next v.
    """
    number, wide, kind, more = (c.literal_value for c in (rows, vectors, form, scaled))
    every = [(r, v) for r in range(number) for v in range(wide)]

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        x, x_step, table, step, column, count, out, out_step, factors = arguments[4:]

        def moved(base: Any, by: Any, times: int) -> Any:
            return b.add(base, b.mul(by, ir.Constant(by.type, times)))

        places = {one: cgutils.alloca_once(b, _VECTOR) for one in every}
        lines = [moved(out, out_step, r) for r in range(number)]
        for r, v in every:
            start = _zero()
            if more:
                start = b.fmul(_load(b, lines[r], v * LANES, "f32"), _splat(b, _scalar(b, factors, r)))
            b.store(start, places[r, v])
        starts = [moved(x, x_step, r) for r in range(number)]
        columns = [moved(table, column, v) for v in range(wide)]
        with cgutils.for_range(b, count, intp=count.type) as loop:
            line = b.mul(loop.index, step)
            loaded = [_load(b, b.add(start, line), 0, "f32") for start in columns]
            for r in range(number):
                at = moved(starts[r], loop.index, 8 if kind == HALVES else 4)
                _accumulate(b, kind, at, loaded, [places[r, v] for v in range(wide)])
        for r, v in every:
            _store(b, lines[r], v * LANES, b.load(places[r, v]))
        return context.get_dummy_value()

    return types.void(rows, vectors, form, scaled, *[types.int64] * 9), generate


def _accumulate(b: Any, form: int, at: Any, vectors: list[Any], places: list[Any]) -> None:
    """Add the number or pair at an address times `vectors` to the sums at `places`."""
    first = _splat(b, _scalar(b, at, 0))
    if form != HALVES:
        for vector, place in zip(vectors, places, strict=True):
            total = b.load(place)
            if form == DOTS:
                b.store(accumulated(b, "vdpbf16ps", total, first, vector), place)
            else:
                b.store(_fma(b, first, vector, total), place)
        return
    second = _splat(b, _scalar(b, at, 1))
    wide = ir.VectorType(ir.IntType(32), LANES)
    for vector, place in zip(vectors, places, strict=True):
        both = b.bitcast(vector, wide)
        low = b.bitcast(b.shl(both, ir.Constant(wide, [16] * LANES)), _VECTOR)
        high = b.bitcast(b.and_(both, ir.Constant(wide, [0xFFFF0000] * LANES)), _VECTOR)
        b.store(_fma(b, second, high, _fma(b, first, low, b.load(place))), place)


def _emitted(emit: Callable[..., None], constants: tuple[Any, ...]) -> Any:
    """An intrinsic's result: three constants, which `emit` knows and numba tells forms by, then four integers."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        emit(builder, *arguments[3:])
        return context.get_dummy_value()

    return types.void(*constants, *[types.int64] * 4), generate


def _zero() -> Any:
    return ir.Constant(_VECTOR, [0.0] * LANES)


def _at(b: Any, base: Any, index: Any, size: int, kind: Any) -> Any:
    if isinstance(index, int):
        offset = ir.Constant(base.type, index * size)
    else:
        offset = b.mul(index, ir.Constant(base.type, size))
    return b.inttoptr(b.add(base, offset), kind.as_pointer())


def _scalar(b: Any, base: Any, index: Any) -> Any:
    return b.load(_at(b, base, index, 4, _F32))


def _splat(b: Any, value: Any) -> Any:
    index = ir.IntType(32)
    one = b.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(index, 0))
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    return b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))


def _load(b: Any, base: Any, index: int, kind: str) -> Any:
    """16 numbers as f32, whatever they are stored as."""
    if kind == "f32":
        return _aligned(b.load(_at(b, base, index, 4, _VECTOR)), 4)
    bits = 8 * _BYTES[kind]
    stored = ir.VectorType(ir.IntType(bits), LANES)
    raw = _aligned(b.load(_at(b, base, index, _BYTES[kind], stored)), _BYTES[kind])
    wide = ir.VectorType(ir.IntType(32), LANES)
    shifted = b.shl(b.zext(raw, wide), ir.Constant(wide, [16] * LANES))
    return b.bitcast(shifted, _VECTOR)


def _one_of_four(b: Any, base: Any, offset: int, which: int, flip: int) -> Any:
    """Of 16 times four bytes at base + offset those of one number, as f32; `flip` is xored into each byte."""
    byte, index = ir.IntType(8), ir.IntType(32)
    every = ir.VectorType(byte, 4 * LANES)
    raw = _aligned(b.load(_at(b, base, offset, 1, every)), 1)
    mask = ir.Constant(ir.VectorType(index, LANES), [4 * lane + which for lane in range(LANES)])
    own = b.shuffle_vector(raw, ir.Constant(every, ir.Undefined), mask)
    if flip:
        own = b.xor(own, ir.Constant(ir.VectorType(byte, LANES), [flip - 256] * LANES))
    return b.sitofp(b.sext(own, ir.VectorType(index, LANES)), _VECTOR)


def _store(b: Any, base: Any, index: Any, value: Any) -> None:
    _aligned(b.store(value, _at(b, base, index, 4, _VECTOR)), 4)


def _aligned(instruction: Any, size: int) -> Any:
    instruction.align = size
    return instruction


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return b.call(get_or_insert_function(b.module, kind, f"llvm.fma.v{LANES}f32"), [x, y, z])
