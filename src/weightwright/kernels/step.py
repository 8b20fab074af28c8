"""Where the tokens of a forward pass stand, and the rules by which they see each other: read by every attention."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from weightwright.kernels.cache import BLOCK_TOKENS, PagedCache

if TYPE_CHECKING:
    from torch import Tensor


class Holder(Protocol):
    """A sequence: `state` is what an executor keeps for it beside the blocks."""

    state: Any


@dataclass(slots=True)
class Segment:
    """Several tokens of one sequence: rows [start, start + count) of the step, `length` tokens in the cache
    with them, through `table` [blocks] i64.
    """

    start: int
    count: int
    length: int
    table: "Tensor"


@dataclass(slots=True)
class Step:
    """Where the tokens of a forward pass stand.

    The first `singles` rows each see their own `lengths` [singles] i64 tokens through `tables` [singles, width]
    i32; the other rows belong to `segments`. `slots` [tokens] i64 is where each token's keys and values go.
    """

    cache: PagedCache
    slots: "Tensor"
    singles: int
    tables: "Tensor"
    lengths: "Tensor"
    segments: Sequence[Segment] = ()
    native: bool = False
    holders: "Sequence[tuple[Holder, int]]" = ()  # the sequences in the order of their rows, with how many each has
    _plans: "dict[int, tuple[Tensor, Tensor, Tensor]]" = field(default_factory=dict)

    def plan(self, tokens: int) -> "tuple[Tensor, Tensor, Tensor]":
        """The segments for a kernel whose tasks are up to `tokens` tokens, made once for all layers that ask so.

        Tasks [tasks, 2] i64 (segment, its first token there), those with most to read first; segments [segments, 3]
        i64 (start, count, length); and their block tables [segments, width] i32.
        """
        if tokens not in self._plans:
            import torch

            segments = self.segments
            tasks = [(at, first) for at, s in enumerate(segments) for first in range(0, s.count, tokens)]
            tasks.sort(
                key=lambda task: task[1] - segments[task[0]].count + segments[task[0]].length, reverse=True
            )
            tables = torch.zeros(len(segments), max(len(s.table) for s in segments), dtype=torch.int32)
            for row, s in zip(tables, segments, strict=True):
                row[: len(s.table)] = s.table
            rows = torch.tensor([[s.start, s.count, s.length] for s in segments])
            self._plans[tokens] = torch.tensor(tasks), rows, tables
        return self._plans[tokens]


@dataclass(frozen=True, slots=True)
class Rules:
    """How scores become weights: sliding `window` in tokens and soft-`cap` (0: none), `sinks` [heads]."""

    scale: float
    window: int = 0
    cap: float = 0.0
    sinks: "Tensor | None" = None


def table_width(lengths: Sequence[int]) -> int:
    """Blocks of the longest of these sequences."""
    return -(-max(lengths) // BLOCK_TOKENS)
