"""Attention of single tokens over a paged cache, without gathering it (PagedAttention, arXiv 2309.06180, §4.3)."""

import functools
from typing import TYPE_CHECKING

from weightwright.kernels.pool import Kernel, bits, kept, threads
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.kernels.step import Rules, Step


@functools.cache
def attend_kernel(group: int, key_width: int, value_width: int, kind: str) -> Kernel:
    """The kernel for `group` query heads a key/value head, and caches of `kind` f32, bf16 or int8."""
    with kept():
        from weightwright.kernels.attend_numba import build

        return Kernel(
            build(group, key_width, value_width, kind, kind == "int8" and "avx512_vnni" in features())
        )


def supported(key_width: int, value_width: int, kind: str) -> bool:
    """Whether there is a kernel for these widths."""
    return bool(kind) and value_width % 16 == 0 and key_width <= 256 and value_width <= 256


def attend(step: "Step", layer: int, queries: "Tensor", rules: "Rules", *, scaled: bool = False) -> "Tensor":
    """One token per row: queries [rows, heads, width] -> [rows, heads, value_width] f32.

    `scaled` says that the queries have been multiplied by the scale already.
    """
    import torch

    cache, shape = step.cache, step.cache.shapes[layer]
    rows, heads, width = queries.shape
    queries = queries.float() if scaled else queries.float() * rules.scale
    queries = queries.contiguous()
    out = torch.empty(rows, heads, shape.value_width)
    tables, lengths = step.tables, step.lengths
    group = heads // shape.kv_heads
    count = threads() if rows > 1 or tables.shape[1] > 4 else 1
    sinks = rules.sinks.float().contiguous() if rules.sinks is not None else None
    attend_kernel(group, width, shape.value_width, cache.kind)(
        count, rows, shape.kv_heads, tables.shape[1], rules.window,
        queries.data_ptr(), cache.keys[layer].data_ptr(), cache.values[layer].data_ptr(), out.data_ptr(),
        tables.data_ptr(), lengths.data_ptr(),
        0 if sinks is None else sinks.data_ptr(),
        cache.key_scales[layer].data_ptr() if cache.scaled else 0,
        cache.value_scales[layer].data_ptr() if cache.scaled else 0,
        bits(rules.cap),
    )  # fmt: skip
    return out
