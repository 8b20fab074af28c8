"""Attention of several tokens of a sequence over its blocks of the paged cache, without gathering them."""

import functools
from typing import TYPE_CHECKING

from weightwright.kernels import pool
from weightwright.kernels.pool import Kernel, kept, threads
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.kernels.step import Rules, Step

_QUERIES = 112  # of a task: rows of one key/value head


@functools.cache
def _kernel(group: int, key_width: int, value_width: int, kind: str) -> Kernel:
    with kept():
        from weightwright.kernels.segments_numba import build

        return Kernel(
            build(group, key_width, value_width, kind, kind != "f32" and "avx512_bf16" in features())
        )


@functools.cache
def supported(key_width: int, value_width: int, kind: str) -> bool:
    """Whether there is a kernel for these widths that beats torch's attention on this CPU.

    It needs AVX512's registers; where there is AMX, torch's matrix products of bf16 use it.
    """
    if (
        not kind
        or not pool.available()
        or value_width % 16
        or key_width % 2
        or max(key_width, value_width) > 256
    ):
        return False
    return "avx512f" in features() and (kind == "f32" or "amx_bf16" not in features())


def attend(step: "Step", layer: int, queries: "Tensor", rules: "Rules") -> "Tensor":
    """Queries [tokens, heads, width] f32 -> [tokens, heads, value_width] f32, filled where `step.segments` stand.

    The queries have been multiplied by the scale; the tokens' keys and values are in the cache.
    """
    import torch

    cache, shape = step.cache, step.cache.shapes[layer]
    heads, width = queries.shape[1:]
    group = heads // shape.kv_heads
    tokens = max(1, _QUERIES // group)
    tasks, segments, tables = step.plan(tokens)
    assert queries.is_contiguous()
    out = torch.empty(*queries.shape[:2], shape.value_width)
    _kernel(group, width, shape.value_width, cache.kind)(
        threads() if len(tasks) * shape.kv_heads > 1 else 1, tasks.data_ptr(), len(tasks), tokens,
        segments.data_ptr(), tables.data_ptr(), tables.shape[1], shape.kv_heads, rules.window, queries.data_ptr(),
        cache.keys[layer].data_ptr(), cache.values[layer].data_ptr(), out.data_ptr(),
        cache.key_scales[layer].data_ptr() if cache.scaled else 0,
        cache.value_scales[layer].data_ptr() if cache.scaled else 0,
    )  # fmt: skip
    return out
