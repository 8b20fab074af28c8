"""int4 products on few rows or many, of several weights at once: each group of inputs is multiplied as whole numbers.

A weight lies in blocks of 16 outputs. A block is one run of memory: what the outputs' scales are multiplied with, and
what their zeros (16 f32 each), the codes, and for each group of 32 inputs 16 scales (u8) and 16 zeros (i8). Each
64 bytes of codes hold 4 inputs of 16 outputs in their lower halves, and in their upper halves the 4 inputs that stand
half a group behind them. Codes times signed bytes are summed by AVX512-VNNI's vpdpbusd; once a group the sums are
scaled and added up in f32.

A row of activations is one run, too: its codes, then for each group what they are multiplied with (f32), that times
their sum (f32), and -8 times their sum (i32), from which the products of a group start: the code 8 stands for zero.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from weightwright.kernels.elementwise_numba import F32 as WHOLE
from weightwright.kernels.elementwise_numba import SILU, load
from weightwright.kernels.vector import (  # fmt: skip
    FAST,
    accumulated,
    after_counters,
    exp,
    f32s,
    fetch,
    i8s,
    i32s,
    i64s,
    larger,
    nearest,
    ticket,
)

OUTPUTS = 16  # of a block
GROUP = 32  # inputs that share a scale
ROWS = 8  # at most in one pass of the innermost loop: 24 registers of sums
TASK = 4  # blocks of a task
FACTORS = 8 * OUTPUTS  # bytes before a block's codes
CODES, SCALES = GROUP // 2 * OUTPUTS, 2 * OUTPUTS  # bytes of a group
_AHEAD = 4096  # bytes that are fetched ahead
_SIGNATURE = types.void(types.voidptr)
_OPTIONS: dict[str, Any] = {"cache": True, "nopython": True, "error_model": "numpy"}
_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_LINE, _REAL, _BYTES = (ir.VectorType(kind, 16) for kind in (_I32, _F32, ir.IntType(8)))


@intrinsic(prefer_literal=True)
def block_products(_context: Any, rows: Any, places: Any, weight: Any, groups: Any) -> Any:
    """out[r][0:16] f32 = row r times one block, for each of `rows` (a constant) rows.

    `places` is the address of i64 [2, ROWS]: where the rows are, where their outputs go.
    """
    count, half = rows.literal_value, GROUP // 2

    def generate(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        _, places, weight, groups = arguments
        inputs, span = b.mul(groups, ir.Constant(_I64, GROUP)), b.mul(groups, ir.Constant(_I64, 4))
        starts = [_load(b, places, r * 8, _I64, 8) for r in range(count)]
        first = b.add(weight, ir.Constant(_I64, FACTORS))
        factors = b.add(first, b.mul(groups, ir.Constant(_I64, CODES)))
        none = ir.Constant(_REAL, [0.0] * 16)
        sums = [[cgutils.alloca_once_value(b, none) for _ in range(2)] for _ in starts]
        low = ir.Constant(_LINE, [0x0F0F0F0F] * 16)
        with cgutils.for_range(b, groups, intp=_I64) as loop:
            held = [[b.load(place) for place in both] for both in sums]
            codes = [b.add(start, b.mul(loop.index, ir.Constant(_I64, GROUP))) for start in starts]
            fours = b.add(inputs, b.mul(loop.index, ir.Constant(_I64, 4)))
            scales = [b.add(start, fours) for start in starts]
            zeros = [b.add(scale, span) for scale in scales]
            whole = [_splat(b, _load(b, b.add(zero, span), 0, _I32, 4), _LINE) for zero in zeros]
            base = b.add(first, b.mul(loop.index, ir.Constant(_I64, CODES)))
            for line in range(half // 4):
                fetch(b, b.add(base, ir.Constant(_I64, line * 64 + _AHEAD)))
                both = _load(b, base, line * 64, _LINE, 64)
                nibbles = (b.and_(both, low), b.and_(b.lshr(both, ir.Constant(_LINE, [4] * 16)), low))
                for part, nibble in enumerate(nibbles):
                    for r in range(count):
                        x = _splat(b, _load(b, codes[r], line * 4 + part * half, _I32, 4), _LINE)
                        whole[r] = accumulated(b, "vpdpbusd", whole[r], nibble, x)
            factor = b.add(factors, b.mul(loop.index, ir.Constant(_I64, SCALES)))
            scale = b.uitofp(b.zext(_load(b, factor, 0, _BYTES, 16), _LINE), _REAL)
            zero = b.sitofp(b.sext(_load(b, factor, OUTPUTS, _BYTES, 16), _LINE), _REAL)
            for r in range(count):
                x_scale, x_sum = (_splat(b, _load(b, at[r], 0, _F32, 4), _REAL) for at in (scales, zeros))
                real = b.sitofp(whole[r], _REAL)
                b.store(_fma(b, real, b.fmul(scale, x_scale), held[r][0]), sums[r][0])
                b.store(_fma(b, zero, x_sum, held[r][1]), sums[r][1])
        of_scales, of_zeros = (_load(b, weight, 64 * part, _REAL, 64) for part in range(2))
        for r, (scaled, shifted) in enumerate(sums):
            out = _fma(b, b.load(scaled), of_scales, b.fmul(b.load(shifted), of_zeros))
            target = b.inttoptr(_load(b, places, (ROWS + r) * 8, _I64, 8), _REAL.as_pointer())
            b.store(out, target).align = 4
        return context.get_dummy_value()

    return types.void(rows, *[types.int64] * 3), generate


def _load(b: Any, base: Any, offset: int, kind: Any, align: int) -> Any:
    address = b.add(base, ir.Constant(_I64, offset)) if offset else base
    loaded = b.load(b.inttoptr(address, kind.as_pointer()))
    loaded.align = align
    return loaded


def _splat(b: Any, value: Any, kind: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    one = b.insert_element(undefined, value, ir.Constant(_I32, 0))
    return b.shuffle_vector(one, undefined, ir.Constant(_LINE, [0] * 16))


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(_REAL, [_REAL] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.fma.v16f32"), [x, y, z])


@njit(error_model="numpy")
def _products(rows: int, places: int, weight: int, groups: int) -> int:
    """`block_products` for some of `rows` rows: how many."""
    if rows >= 8:
        block_products(8, places, weight, groups)
        return 8
    if rows >= 4:
        block_products(4, places, weight, groups)
        return 4
    if rows >= 2:
        block_products(2, places, weight, groups)
        return 2
    block_products(1, places, weight, groups)
    return 1


@cfunc(_SIGNATURE, **_OPTIONS)
def product(data: Any) -> None:
    """See `int4.product`. A task is a few blocks of outputs of one weight, for all its rows."""
    a = carray(after_counters(data), (13,), np.int64)
    weights, groups, blocks, block_bytes, table, starts, order = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    x, x_stride, share, out, out_stride, active = a[7], a[8], a[9], a[10], a[11], a[12]
    tasks = (blocks + TASK - 1) // TASK
    where, begin, chosen = i64s(table, weights), i32s(starts, weights + 1), i32s(active, weights)
    which = i32s(order, begin[weights])
    places = np.empty(2 * ROWS, np.int64)
    many = 0
    while many < weights and chosen[many] >= 0:
        many += 1
    task = ticket(data, 1)
    while task < many * tasks:
        one, first = chosen[task // tasks], task % tasks * TASK
        for block in range(first, min(first + TASK, blocks)):
            row = begin[one]
            while row < begin[one + 1]:
                count = min(ROWS, begin[one + 1] - row)
                for r in range(count):
                    pair = np.int64(which[row + r])
                    places[r] = x + pair // share * x_stride
                    places[ROWS + r] = out + pair * out_stride + block * OUTPUTS * 4
                row += _products(count, places.ctypes.data, where[one] + block * block_bytes, groups)
        task = ticket(data, 1)


@njit(fastmath=FAST, error_model="numpy")
def put_groups(line: Any, address: int) -> None:
    """A row of f32 as the products want it; see the head of this file."""
    n = len(line)
    groups = n // GROUP
    codes = i8s(address, n)
    scales, sums, less = (
        f32s(address + n, groups),
        f32s(address + n + groups * 4, groups),
        i32s(address + n + groups * 8, groups),
    )
    for g in range(groups):
        part = line[g * GROUP : (g + 1) * GROUP]
        top = np.float32(0)
        for i in range(GROUP):
            top = larger(abs(part[i]), top)
        scale = top / np.float32(127)
        inverse = np.float32(127) / top if top > np.float32(1e-30) else np.float32(0)
        total = np.int32(0)
        for i in range(GROUP):
            code = nearest(part[i] * inverse)
            codes[g * GROUP + i] = np.int8(code)
            total += code
        scales[g], sums[g], less[g] = scale, scale * np.float32(total), np.int32(-8) * total


@cfunc(_SIGNATURE, **_OPTIONS)
def put(data: Any) -> None:
    """See `int4.put`: rows of f32 or bf16, with zeros behind them up to whole groups."""
    a = carray(after_counters(data), (6,), np.int64)
    n, width, padded, kind, x, out = a[0], a[1], a[2], a[3], a[4], a[5]
    line = np.zeros(padded, np.float32)
    stride = padded + padded // GROUP * 12
    row = ticket(data, 1)
    while row < n:
        load(kind, x + row * width * (4 if kind == WHOLE else 2), np.float32(1), 0, line[:width])
        put_groups(line, out + row * stride)
        row = ticket(data, 1)


@cfunc(_SIGNATURE, **(_OPTIONS | {"fastmath": FAST}))
def gate(data: Any) -> None:
    """See `int4.gate`: activation(first half of a row) x second half, as `put` stores it."""
    a = carray(after_counters(data), (6,), np.int64)
    n, width, padded, x, activation, out = a[0], a[1], a[2], a[3], a[4], a[5]
    line = np.zeros(padded, np.float32)
    stride = padded + padded // GROUP * 12
    row = ticket(data, 1)
    while row < n:
        left, right = f32s(x + row * width * 8, width), f32s(x + row * width * 8 + width * 4, width)
        if activation == SILU:
            for i in range(width):
                line[i] = left[i] / (np.float32(1) + exp(-left[i])) * right[i]
        else:  # 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u))
            for i in range(width):
                u = np.float32(0.7978845608) * (left[i] + np.float32(0.044715) * left[i] * left[i] * left[i])
                line[i] = left[i] / (np.float32(1) + exp(np.float32(-2) * u)) * right[i]
        put_groups(line, out + row * stride)
        row = ticket(data, 1)
