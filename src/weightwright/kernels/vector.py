"""What kernels are written with: raw memory as arrays, reinterpreted bits, tickets for threads and tasks.

Everything here is compiled by numba; nothing is called from Python.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import carray, njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

binding.initialize_native_asmparser()  # for `accumulated`
F32, I32 = ir.FloatType(), ir.IntType(32)
_BYTE = ir.IntType(8)
FAST: set[str] = {"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}


@intrinsic
def ticket(_context: Any, data: Any, place: Any) -> Any:
    """The 64-bit counter number `place` at `data`, which goes up by one for each thread that asks."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counters = builder.bitcast(arguments[0], ir.IntType(64).as_pointer())
        counter = builder.gep(counters, [arguments[1]])
        return builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.voidptr, types.int64), generate


@intrinsic
def after_counters(_context: Any, data: Any) -> Any:
    """Where a kernel's own arguments begin: behind the two counters."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [ir.Constant(ir.IntType(64), 16)])

    return types.voidptr(types.voidptr), generate


@intrinsic
def pointer(_context: Any, address: Any) -> Any:
    """An address as void*."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def prefetch(_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which may be anywhere."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        fetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def fetch(builder: Any, address: Any) -> None:
    """Emit a prefetch of the line at an address (an integer) into the second cache, which takes more at once."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), I32, I32, I32])
    function = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    options = [ir.Constant(I32, n) for n in (0, 2, 1)]  # read, keep in the second cache, data
    builder.call(function, [builder.inttoptr(address, _BYTE.as_pointer()), *options])


def accumulated(builder: Any, instruction: str, total: Any, x: Any, y: Any) -> Any:
    """Emit total + x y by an instruction of the CPU (vpdpbusd, vdpbf16ps) on registers of 512 bits.

    As assembly: LLVM's own functions for them changed their types from version to version.
    """
    kind = ir.FunctionType(total.type, [total.type, x.type, y.type])
    code = ir.InlineAsm(kind, f"{instruction} $3, $2, $0", "=v,0,v,v", side_effect=False)
    return builder.call(code, [total, x, y])


@intrinsic
def halves(_context: Any, source: Any, target: Any) -> Any:
    """Round 16 f32 at an address to bf16 at another, by AVX512-BF16 (denormals become 0)."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        half = _rounded_half(builder, arguments[0])
        builder.store(half, builder.inttoptr(arguments[1], half.type.as_pointer())).align = 2
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def twins(_context: Any, first: Any, second: Any, target: Any) -> Any:
    """Round 16 f32 at each of two addresses to bf16, and put those of the same place beside each other at a third."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        short, long = ir.VectorType(ir.IntType(16), 16), ir.VectorType(I32, 16)
        low, high = (
            builder.zext(builder.bitcast(_rounded_half(builder, at), short), long) for at in arguments[:2]
        )
        both = builder.or_(low, builder.shl(high, ir.Constant(long, [16] * 16)))
        builder.store(both, builder.inttoptr(arguments[2], long.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _rounded_half(builder: Any, address: Any) -> Any:
    """Emit the 16 f32 at an address rounded to bf16 by the CPU's instruction, as eight words."""
    whole, half = ir.VectorType(F32, 16), ir.VectorType(I32, 8)
    loaded = builder.load(builder.inttoptr(address, whole.as_pointer()))
    loaded.align = 4
    code = ir.InlineAsm(ir.FunctionType(half, [whole]), "vcvtneps2bf16 $1, $0", "=v,v", side_effect=False)
    return builder.call(code, [loaded])


@intrinsic
def from_bf16(_context: Any, half: Any) -> Any:
    """The f32 whose upper 16 bits are given."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = builder.shl(builder.zext(arguments[0], I32), ir.Constant(I32, 16))
        return builder.bitcast(wide, F32)

    return types.float32(types.uint16), generate


@intrinsic
def as_f32(_context: Any, whole: Any) -> Any:
    """The f32 with these 32 bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], F32)

    return types.float32(types.int32), generate


@intrinsic
def as_i32(_context: Any, real: Any) -> Any:
    """The 32 bits of an f32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], I32)

    return types.int32(types.float32), generate


@njit(inline="always")
def to_bf16(value: Any) -> Any:
    """Round an f32 to the nearest bf16, ties to even."""
    whole = as_i32(value)
    return np.uint16(
        np.uint32(whole + np.int32(0x7FFF) + ((whole >> np.int32(16)) & np.int32(1))) >> np.uint32(16)
    )


@njit(inline="always")
def pair(first: Any, second: Any) -> Any:
    """Two bf16 as the 32 bits that vdpbf16ps takes."""
    return np.uint32(first) | (np.uint32(second) << np.uint32(16))


def _of_two(name: str) -> Any:
    """An intrinsic of LLVM on two f32: a plain call, which turns into vectors where a comparison may not."""

    @intrinsic
    def of_two(_context: Any, first: Any, second: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(F32, [F32, F32])
            return builder.call(get_or_insert_function(builder.module, kind, name), arguments)

        return types.float32(types.float32, types.float32), generate

    return of_two


larger = _of_two("llvm.maxnum.f32")
smaller = _of_two("llvm.minnum.f32")
_MAGIC = np.float32(12582912.0)  # 1.5 x 2^23: adding it leaves the nearest integer in the lowest bits


@njit(inline="always")
def nearest(x: Any) -> Any:
    """The nearest whole number as i32, ties to even, for magnitudes below 2^22; vectorises where rint does not."""
    return as_i32(x + _MAGIC) - np.int32(0x4B400000)


@intrinsic
def rounded(_context: Any, real: Any) -> Any:
    """The nearest whole number as f32, ties to even."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(F32, [F32])
        return builder.call(get_or_insert_function(builder.module, kind, "llvm.rint.f32"), arguments)

    return types.float32(types.float32), generate


@njit(inline="always", fastmath=FAST, error_model="numpy")
def exp(x: Any) -> Any:
    """E to the x in f32, relative error below 2e-7 (1 + |x|); x is held between -87 and 88.

    2 to the whole part goes into the exponent's bits; the rest is a polynomial (minimax on [-0.5, 0.5], 8e-8).
    """
    twos = smaller(larger(x, np.float32(-87.0)), np.float32(88.0)) * np.float32(1.44269504)
    rest = twos - rounded(twos)
    value = np.float32(1.327647129073739e-3)
    value = value * rest + np.float32(9.675540961325169e-3)
    value = value * rest + np.float32(5.550713092088699e-2)
    value = value * rest + np.float32(0.24022120237350464)
    value = value * rest + np.float32(0.6931469440460205)
    value = value * rest + np.float32(1.0000001192092896)
    return as_f32(as_i32(value) + (nearest(twos) << np.int32(23)))


@njit(inline="always")
def f32s(address: Any, count: Any) -> Any:
    """`count` f32 at an address."""
    return carray(pointer(address), (count,), np.float32)


@njit(inline="always")
def u16s(address: Any, count: Any) -> Any:
    """`count` bf16 at an address, as their bits."""
    return carray(pointer(address), (count,), np.uint16)


@njit(inline="always")
def u32s(address: Any, count: Any) -> Any:
    """`count` unsigned 32-bit integers at an address."""
    return carray(pointer(address), (count,), np.uint32)


@njit(inline="always")
def u8s(address: Any, count: Any) -> Any:
    """`count` bytes at an address."""
    return carray(pointer(address), (count,), np.uint8)


@njit(inline="always")
def i8s(address: Any, count: Any) -> Any:
    """`count` signed bytes at an address."""
    return carray(pointer(address), (count,), np.int8)


@njit(inline="always")
def i32s(address: Any, count: Any) -> Any:
    """`count` 32-bit integers at an address."""
    return carray(pointer(address), (count,), np.int32)


@njit(inline="always")
def i64s(address: Any, count: Any) -> Any:
    """`count` 64-bit integers at an address."""
    return carray(pointer(address), (count,), np.int64)


@njit(inline="always")
def f64s(address: Any, count: Any) -> Any:
    """`count` f64 at an address."""
    return carray(pointer(address), (count,), np.float64)
