"""Causal attention for training over rows that share their beginnings: forward and backward, on the CPU.

The tokens of a pass stand one behind the other in segments. A segment's tokens see those before them in it, and all
tokens of the segments that it goes on from: what rows have in common stands, and is computed, once.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightwright.kernels.elementwise import kind_of
from weightwright.kernels.pool import Kernel, available, bits, kept, threads
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tree:
    """The segments of a pass: `bounds` has where each begins, and the end of the last.

    before[n] has the numbers of the segments that segment n sees, from the first on; all stand before it.
    """

    bounds: tuple[int, ...]
    before: tuple[tuple[int, ...], ...] = ()

    def range(self, number: int) -> tuple[int, int]:
        """The first token of a segment, and the one behind its last."""
        return self.bounds[number], self.bounds[number + 1]

    def seen(self, number: int) -> tuple[int, ...]:
        """The segments that segment `number` goes on from."""
        return self.before[number] if self.before else ()

    def tokens_seen(self, number: int) -> int:
        """How many tokens its last token sees."""
        return sum(b - a for a, b in map(self.range, (*self.seen(number), number)))

    @functools.cached_property
    def longest(self) -> int:
        """The most tokens that a token sees."""
        return max(map(self.tokens_seen, range(len(self.bounds) - 1)))

    @functools.cached_property
    def shared(self) -> frozenset[int]:
        """The segments that others go on from."""
        return frozenset(n for seen in self.before for n in seen)

    @functools.cached_property
    def laid(self) -> "tuple[Tensor, Tensor, Tensor]":
        """The kernels' tables, i64.

        Segments [n, 7], those with most work first: first token, tokens, first of its ranges, ranges, tokens in
        them, first row in the scratch, rows there; ranges [m, 2] of tokens; the token of each row in the scratch,
        where the gradients of tokens that several segments see wait to be summed.
        """
        import torch

        segments: list[tuple[int, ...]] = []
        ranges: list[tuple[int, int]] = []
        rows: list[int] = []
        for n in range(len(self.bounds) - 1):
            (a, b), seen = self.range(n), [self.range(other) for other in self.seen(n)]
            tokens = [token for first, end in seen for token in range(first, end)]
            kept_rows = [*tokens, *range(a, b)] if n in self.shared else tokens
            segments.append((a, b - a, len(ranges), len(seen), len(tokens), len(rows), len(kept_rows)))
            ranges += seen
            rows += kept_rows
        segments.sort(key=lambda one: -one[1] * (one[4] + one[1]))
        return (
            torch.tensor(segments),
            torch.tensor(ranges or [(0, 0)]),
            torch.tensor(rows, dtype=torch.int64),
        )


@functools.cache
def _kernel(gradient: bool, dtype: object) -> Kernel:
    with kept():
        from weightwright.kernels.tree_numba import build, build_gradient

        kind = kind_of(dtype)
        dots = kind == 1 and "avx512_bf16" in features()
        rows, columns = (4, 4) if "avx512f" in features() else (2, 2)
        made = build_gradient if gradient else build
        return Kernel(made(kind, dots, rows, columns))


def runs_on(query: "Tensor", key: "Tensor", value: "Tensor") -> bool:
    """Whether these kernels take heads like these [lines, heads, tokens, width]."""
    return (
        query.device.type == "cpu"
        and str(query.dtype) in {"torch.float32", "torch.bfloat16"}
        and query.dtype == key.dtype == value.dtype
        and query.shape[3] % 16 == value.shape[3] % 16 == 0
        and query.shape[1] % key.shape[1] == 0
        and available()
    )


def attend(
    query: "Tensor", key: "Tensor", value: "Tensor", tree: Tree, scale: float, window: int
) -> "Tensor":
    """Softmax(scale·q·kᵀ)·v over what a token sees (the last `window`; 0: all): [tokens, heads, value width].

    query [heads, tokens, width], key and value with fewer heads; the numbers of a head lie together.
    """
    import torch

    segments, ranges, _ = tree.laid
    (heads, tokens, width), (kv_heads, _, value_width) = query.shape, value.shape
    out = torch.empty(tokens, heads, value_width, dtype=query.dtype)
    q, k, v = map(_placed, (query, key, value))
    _kernel(False, query.dtype)(
        threads(), segments.data_ptr(), len(segments), ranges.data_ptr(), tree.longest, kv_heads, window,
        out.data_ptr(), *q, *k, *v, heads // kv_heads, width, value_width, bits(scale),
    )  # fmt: skip
    return out


def gradients(
    query: "Tensor", key: "Tensor", value: "Tensor", grad: "Tensor", tree: Tree, scale: float, window: int
) -> "tuple[Tensor, Tensor, Tensor]":
    """The gradients of `attend`'s query, key and value [tokens, heads, width], from grad [heads, tokens, width]."""
    import torch

    segments, ranges, rows = tree.laid
    (heads, tokens, width), (kv_heads, _, value_width) = query.shape, value.shape
    of_query, of_key, of_value = (
        torch.empty(tokens, x.shape[0], x.shape[2], dtype=x.dtype) for x in (query, key, value)
    )
    scratch = torch.empty(len(rows), kv_heads, width + value_width)
    q, k, v, o = map(_placed, (query, key, value, grad))
    found = [x.data_ptr() for x in (of_query, of_key, of_value, scratch)]
    _kernel(True, query.dtype)(
        threads(), segments.data_ptr(), len(segments), ranges.data_ptr(), tree.longest, kv_heads, window, *q, *k, *v,
        *o, *found, heads // kv_heads, width, value_width, bits(scale),
    )  # fmt: skip
    if len(rows):
        tokens_shared, places = torch.unique(rows, return_inverse=True)
        sums = scratch.new_zeros(len(tokens_shared), *scratch.shape[1:]).index_add_(0, places, scratch)
        of_key[tokens_shared] = sums[..., :width].to(of_key.dtype)
        of_value[tokens_shared] = sums[..., width:].to(of_value.dtype)
    return of_query, of_key, of_value


def _placed(x: "Tensor") -> tuple[int, int, int]:
    """Where x [heads, tokens, width] begins, and the bytes from token to token and from head to head."""
    assert x.stride(2) == 1, "the numbers of a head must lie one behind the other"
    return x.data_ptr(), x.stride(1) * x.element_size(), x.stride(0) * x.element_size()
