"""Causal attention for training over rows that share their beginnings: forward and backward, on the CPU.

The tokens of a pass stand one behind the other in segments. A segment's tokens see those before them in it, and all
tokens of the segments that it goes on from: what rows have in common stands, and is computed, once.
"""

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightwright.kernels.elementwise import kind_of
from weightwright.kernels.pool import Kernel, available, bits, kept, threads
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from torch import Tensor

_SCRATCH_ROWS = 4096  # tokens whose gradients wait at a time, with all their heads


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

    @classmethod
    @functools.lru_cache(maxsize=16)
    def of_lines(cls, lines: int, tokens: int) -> "Tree":
        """Lines of so many tokens each, that have nothing to do with each other."""
        return cls(tuple(range(0, lines * tokens + 1, tokens)))

    @functools.cached_property
    def laid(self) -> "Laid":
        """The kernels' tables."""
        import torch

        segments: list[tuple[int, ...]] = []
        ranges: list[tuple[int, int]] = []
        for n in range(len(self.bounds) - 1):
            (a, b), seen = self.range(n), [self.range(other) for other in self.seen(n)]
            before = sum(end - first for first, end in seen)
            kept_rows = before + (b - a if n in self.shared else 0)
            segments.append((a, b - a, len(ranges), len(seen), before, 0, kept_rows))
            ranges += seen
        segments.sort(key=lambda one: -one[1] * (one[4] + one[1]))
        stretches: list[tuple[slice, Tensor]] = []
        first, rows = 0, list[int]()
        for n, (start, own, at, count, before, _, kept_rows) in enumerate(segments):
            if rows and len(rows) + kept_rows > _SCRATCH_ROWS:
                stretches.append((slice(first, n), torch.tensor(rows)))
                first, rows = n, []
            segments[n] = (start, own, at, count, before, len(rows), kept_rows)
            rows += [t for a, b in [*ranges[at : at + count], (start, start + own)] for t in range(a, b)][
                :kept_rows
            ]
        stretches.append((slice(first, len(segments)), torch.tensor(rows, dtype=torch.int64)))
        return Laid(torch.tensor(segments), torch.tensor(ranges or [(0, 0)]), tuple(stretches))


@dataclass(frozen=True, eq=False)
class Laid:
    """A tree as the kernels take it, i64.

    Segments [n, 7], those with most work first: first token, tokens, first of its ranges, ranges, tokens in them,
    first row in the scratch, rows there; ranges [m, 2] of tokens. The gradients of tokens that several segments see
    wait in the scratch to be summed: `stretches` are segments whose rows it holds at a time, with their tokens.
    """

    segments: "Tensor"
    ranges: "Tensor"
    stretches: "tuple[tuple[slice, Tensor], ...]"


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

    query [heads, tokens, width], key and value with fewer heads. Where queries or keys are not finite the whole
    is NaN: compiled for finite ones, the kernel would make some of it.
    """
    import torch

    laid = tree.laid
    query, key, value = map(_in_rows, (query, key, value))
    (heads, tokens, width), (kv_heads, _, value_width) = query.shape, value.shape
    out = torch.empty(tokens, heads, value_width, dtype=query.dtype)
    q, k, v = map(_placed, (query, key, value))
    _kernel(False, query.dtype)(
        threads(), laid.segments.data_ptr(), len(laid.segments), laid.ranges.data_ptr(), tree.longest, kv_heads,
        window, out.data_ptr(), *q, *k, *v, heads // kv_heads, width, value_width, bits(scale),
    )  # fmt: skip
    if not math.isfinite(sum(float(x.sum(dtype=torch.float32)) for x in (query, key))):
        out.fill_(math.nan)
    return out


def gradients(
    query: "Tensor", key: "Tensor", value: "Tensor", grad: "Tensor", tree: Tree, scale: float, window: int
) -> "tuple[Tensor, Tensor, Tensor]":
    """The gradients of `attend`'s query, key and value [tokens, heads, width], from grad [heads, tokens, width]."""
    import torch

    laid = tree.laid
    query, key, value, grad = map(_in_rows, (query, key, value, grad))
    (heads, tokens, width), (kv_heads, _, value_width) = query.shape, value.shape
    found = [torch.empty(tokens, x.shape[0], x.shape[2], dtype=x.dtype) for x in (query, key, value)]
    places = [number for x in (query, key, value, grad) for number in _placed(x)]
    sums = torch.zeros(tokens if tree.shared else 0, kv_heads, width + value_width)
    for which, rows in laid.stretches:
        part, scratch = laid.segments[which], sums.new_empty(len(rows), *sums.shape[1:])
        _kernel(True, query.dtype)(
            threads(), part.data_ptr(), len(part), laid.ranges.data_ptr(), tree.longest, kv_heads, window, *places,
            *(x.data_ptr() for x in (*found, scratch)), heads // kv_heads, width, value_width, bits(scale),
        )  # fmt: skip
        if len(rows):
            sums.index_add_(0, rows, scratch)
    for number in tree.shared:
        own = slice(*tree.range(number))
        for target, summed in zip(found[1:], sums[own].split([width, value_width], dim=2), strict=True):
            target[own] = summed.to(target.dtype)
    return found[0], found[1], found[2]


def _in_rows(x: "Tensor") -> "Tensor":
    """The same numbers with those of a head one behind the other."""
    return x if x.stride(2) == 1 else x.contiguous()


def _placed(x: "Tensor") -> tuple[int, int, int]:
    """Where x [heads, tokens, width] begins, and the bytes from token to token and from head to head."""
    return x.data_ptr(), x.stride(1) * x.element_size(), x.stride(0) * x.element_size()
