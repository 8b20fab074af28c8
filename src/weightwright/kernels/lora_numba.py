"""The code of `lora`: compiled once for each form of the matrices and kept on disk by numba."""

from typing import Any

import numpy as np
from numba import carray, njit

from weightwright.kernels.entry import entry
from weightwright.kernels.tiles import DOTS, WHOLE, products
from weightwright.kernels.vector import FAST, after_counters, f32s, from_bf16, i64s, ticket, to_bf16, u16s

F32 = 0
ROWS = 4  # of one adapter that share what is read of its matrices
_VECTORS = 4  # of 16 columns, at most, in one pass


@njit(fastmath=FAST, error_model="numpy")
def finish(y: int, kind: int, first: int, scale: Any, bias: int, delta: Any) -> None:
    """The numbers of y from number `first` on, times `scale` plus `bias` (0: none), plus `delta`."""
    n = len(delta)
    if bias != 0:
        added = f32s(bias, n)
        for i in range(n):
            delta[i] += added[i]
    if kind == F32:
        whole = f32s(y + first * 4, n)
        for i in range(n):
            whole[i] = whole[i] * scale + delta[i]
    else:
        half = u16s(y + first * 2, n)
        for i in range(n):
            half[i] = to_bf16(from_bf16(half[i]) * scale + delta[i])


def _product(form: int) -> Any:
    """`products` for rows of any width, of which it knows the parts as constants."""

    @njit(error_model="numpy")
    def product(
        rows: int, x: int, x_step: int, table: int, width: int, count: int, out: int, out_step: int
    ) -> None:
        """out[r, :width] = x[r] table for `rows` rows, 1 or ROWS, and up to 15 numbers behind `width`."""
        column, step = 0, width * 4
        while column < width:
            wide = min(_VECTORS, (width - column + 15) // 16)
            t, o = table + column * 4, out + column * 4
            if rows == 1:
                if wide == 4:
                    products(1, 4, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
                elif wide == 3:
                    products(1, 3, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
                elif wide == 2:
                    products(1, 2, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
                else:
                    products(1, 1, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
            elif wide == 4:
                products(4, 4, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
            elif wide == 3:
                products(4, 3, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
            elif wide == 2:
                products(4, 2, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
            else:
                products(4, 1, form, 0, x, x_step, t, step, 64, count, o, out_step, 0)
            column += 16 * wide

    return product


def _kept(form: int) -> Any:
    """Numbers as `products` takes them."""

    @njit(fastmath=FAST, error_model="numpy")
    def kept(kind: int, source: int, n: int, out: int) -> None:
        """`n` numbers at an address as products take them: f32, or bf16 beside each other."""
        if kind == F32:
            whole = f32s(source, n)
            if form == DOTS:
                half = u16s(out, n)
                for i in range(n):
                    half[i] = to_bf16(whole[i])
            else:
                real = f32s(out, n)
                for i in range(n):
                    real[i] = whole[i]
        else:
            given = u16s(source, n)
            if form == DOTS:
                half = u16s(out, n)
                for i in range(n):
                    half[i] = given[i]
            else:
                real = f32s(out, n)
                for i in range(n):
                    real[i] = from_bf16(given[i])

    return kept


def build(form: int) -> Any:
    """Compile for matrices of a form (see `tiles.products`). Arguments: see `lora.add`."""
    together = 1 if form == WHOLE else 2  # numbers of the inner dimension that lie beside each other
    product, kept = _product(form), _kept(form)

    @entry(form, fastmath=FAST, error_model="numpy")
    def add(data: Any) -> None:
        a = carray(after_counters(data), (20,), np.int64)
        groups, n, inputs, outputs, parts, rank, chunk, chunks = (
            a[0],
            a[1],
            a[2],
            a[3],
            a[4],
            a[5],
            a[6],
            a[7],
        )
        starts, order, slots, layout = (
            i64s(a[8], groups + 1),
            i64s(a[9], n),
            i64s(a[10], groups),
            i64s(a[11], parts * 3),
        )
        x, x_kind, y, y_kind, down, up = a[12], a[13], a[14], a[15], a[16], a[17]
        scales, bias = a[18], a[19]
        wide = parts * rank
        size = 2 if x_kind != F32 else 4
        lines = np.empty((ROWS, inputs if form != DOTS else inputs // 2), np.float32)
        h = np.empty((ROWS, (wide + 15) // 16 * 16), np.float32)
        weights = np.empty((ROWS, wide), np.float32)
        delta = np.empty((ROWS, (chunk + 15) // 16 * 16), np.float32)
        x_step, h_step, w_step, d_step = lines.shape[1] * 4, h.shape[1] * 4, wide * 4, delta.shape[1] * 4
        begins = rank * (2 if form == DOTS else 4)  # bytes of one part's numbers in `weights`
        one = np.float32(1)
        group = ticket(data, 1)
        while group < groups:
            first, slot = starts[group], slots[group]
            count = starts[group + 1] - first
            step = count if count == ROWS else 1
            if slot >= 0:
                for r in range(count):
                    kept(x_kind, x + order[first + r] * inputs * size, inputs, lines[r].ctypes.data)
                matrix = down + slot * inputs // together * wide * 4
                for r in range(0, count, step):
                    product(step, lines[r].ctypes.data, x_step, matrix, wide, inputs // together, h[r].ctypes.data,
                            h_step)  # fmt: skip
                for r in range(count):
                    kept(F32, h[r].ctypes.data, wide, weights[r].ctypes.data)
            for part in range(parts):
                begin, out, piece = layout[part * 3], layout[part * 3 + 1], layout[part * 3 + 2]
                done = 0
                while done < out:
                    used = min(chunk, out - done)
                    if slot >= 0:
                        matrix = up + (slot * chunks + piece) * rank // together * chunk * 4
                        for r in range(0, count, step):
                            product(step, weights[r].ctypes.data + part * begins, w_step, matrix, chunk,
                                    rank // together, delta[r].ctypes.data, d_step)  # fmt: skip
                    else:
                        delta[:] = 0
                    for r in range(count):
                        row = order[first + r]
                        scale = f32s(scales, row + 1)[row] if scales != 0 else one
                        finish(y, y_kind, row * outputs + begin + done, scale,
                               bias + (begin + done) * 4 if bias != 0 else bias, delta[r, :used])  # fmt: skip
                    done += used
                    piece += 1
            group = ticket(data, 1)

    return add
