"""Rows as the tensors of a pass: packed one behind the other, or padded on the right."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from weightwright.data.pack import micro_batches, packs
from weightwright.data.sample import Prompt
from weightwright.data.template import Encoded
from weightwright.kernels.elementwise import padded_rows
from weightwright.kernels.tree import Tree
from weightwright.tune import prefixes

NO_LABEL = -100


@dataclass(frozen=True, slots=True)
class Example:
    """Rows that a loss looks at together: one alone, or an answer and the one that was liked less.

    `good` is KTO's judgement, `partner` what its KL term is measured on; `reference` has the log-probability of each
    row's labelled tokens under the base model, summed, where the objective compares with it.

    A sampled answer has its `advantage` over the others to its `prompt`, and may have the log-probabilities of its
    labelled tokens when it was sampled (`sampled`) and under the base model (`base`).
    """

    rows: tuple[Encoded, ...]
    good: bool = True
    reference: tuple[float, ...] = ()
    partner: "Example | None" = None
    prompt: Prompt | None = None
    advantage: float = 0.0
    sampled: tuple[float, ...] = ()
    base: tuple[float, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of all its rows."""
        return sum(map(len, self.rows))

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        return max(map(len, self.rows))


@dataclass(frozen=True, slots=True)
class Batch:
    """A pass. token_ids, labels and row_ids [lines, width] i64; labels are NO_LABEL where there is no loss.

    Packed rows stand in one line, in the segments of `tree`; what several have in common may stand once (see
    `prefixes`). `positions` [lines, width] i64 are those in the row. On a CPU padding stands behind them as one more
    segment (see `pack`). Without a tree each row has a line of its own, padded on the right. `row_ids` tells the rows
    of all examples apart, in their order (-1: padding, and what rows have in common).
    """

    token_ids: Tensor
    labels: Tensor
    tokens: int  # without padding
    row_ids: Tensor
    examples: tuple[Example, ...] = ()
    positions: Tensor | None = None
    tree: Tree | None = None

    @property
    def rows(self) -> int:
        """Rows of all its examples."""
        return sum(len(example.rows) for example in self.examples)

    @property
    def labelled(self) -> Tensor:
        """Which positions predict a labelled token: [lines, width - 1] bool."""
        mask: Tensor = self.labels[:, 1:] != NO_LABEL
        return mask

    @property
    def predicting(self) -> Tensor:
        """Which positions predict a token of their own row: [lines, width - 1] bool."""
        mask: Tensor = (self.row_ids[:, 1:] == self.row_ids[:, :-1]) & (self.row_ids[:, 1:] >= 0)
        return mask


def to_batches(
    examples: Sequence[Example],
    max_rows: int | None,
    max_tokens: int,
    device: torch.device | str,
    *,
    packed: bool,
    shared: bool = False,
) -> list[Batch]:
    """Examples as passes of at most `max_rows` rows where given, else of about `max_tokens` tokens.

    With `shared` what packed rows have in common at their beginnings stands once.
    """
    if packed:
        if shared and max_rows is None:
            numbers = prefixes.groups([example.rows for example in examples], max_tokens)
        else:
            sizes = [example.tokens for example in examples], [len(example.rows) for example in examples]
            numbers = packs(*sizes, max_rows, max_tokens)
        return [pack([examples[n] for n in some], device, shared=shared) for some in numbers]
    lengths = [example.longest for example in examples]
    together = max(len(example.rows) for example in examples)
    most = None if max_rows is None else max(1, max_rows // together)
    passes = micro_batches(lengths, max_rows=most, max_tokens=max_tokens // together)
    return [pad([examples[n] for n in some], device) for some in passes]


def pack(examples: Sequence[Example], device: torch.device | str, *, shared: bool = False) -> Batch:
    """Rows one behind the other. The first token of a row carries no loss: the row before it never predicts it.

    With `shared` what they have in common at their beginnings stands once; examples then stand as their rows do.
    On a CPU the line is padded to one of few widths: oneDNN keeps 0.7 MB for each product of a width it has met.
    Padding is a token of the rows: of embeddings that are zero, as those of padding tokens, some layers make NaN.
    """
    rows = [row for example in examples for row in example.rows]
    laid = (
        prefixes.segments(rows)
        if shared
        else [prefixes.Segment(n, 0, len(row)) for n, row in enumerate(rows)]
    )
    examples, numbers = _as_laid(examples, laid)
    sizes = [segment.end - segment.start for segment in laid]
    width = padded_rows(sum(sizes)) if torch.device(device).type == "cpu" else sum(sizes)
    ids, places = torch.zeros(2, width, dtype=torch.int64)
    labels, row_ids = torch.full((width,), NO_LABEL), torch.full((width,), -1)
    at = 0
    for segment, size in zip(laid, sizes, strict=True):
        row, here, there = rows[segment.row], slice(segment.start, segment.end), slice(at, at + size)
        ids[there] = torch.tensor(row.token_ids[here])
        places[there] = torch.arange(segment.start, segment.end)
        if not segment.shared:
            labelled = torch.tensor(row.labelled[here])
            if not segment.start:
                labelled[0] = False
            labels[there] = torch.where(labelled, ids[there], NO_LABEL)
            row_ids[there] = numbers[segment.row]
        at += size
    before = tuple(segment.before for segment in laid)
    if at < width:  # padding has no position beyond: the rotary embedding may follow the highest
        places[at:] = torch.arange(width - at).clamp(max=max(map(len, rows)) - 1)
        ids[at:] = rows[0].token_ids[0]
        sizes, before = [*sizes, width - at], (*before, ())
    return Batch(
        token_ids=ids[None].to(device),
        labels=labels[None].to(device),
        tokens=sum(map(len, rows)),
        row_ids=row_ids[None].to(device),
        examples=tuple(examples),
        positions=places[None].to(device),
        tree=Tree((0, *accumulate(sizes)), before),
    )


def _as_laid(
    examples: Sequence[Example], laid: Sequence[prefixes.Segment]
) -> tuple[list[Example], list[int]]:
    """Examples in the order in which the first of their rows stands in a pass, and the new number of each row."""
    owners = [n for n, example in enumerate(examples) for _ in example.rows]
    order = dict.fromkeys(owners[segment.row] for segment in laid if not segment.shared)
    starts = dict(zip(order, accumulate((len(examples[n].rows) for n in order), initial=0), strict=False))
    within = [number for example in examples for number in range(len(example.rows))]
    return [examples[n] for n in order], [starts[n] + own for n, own in zip(owners, within, strict=True)]


def pad(examples: Sequence[Example], device: torch.device | str) -> Batch:
    """A line a row, on a CPU of one of few widths. Causal attention never looks right: padding needs no mask."""
    rows = [row for example in examples for row in example.rows]
    longest = max(map(len, rows))
    width = padded_rows(longest) if torch.device(device).type == "cpu" else longest
    token_ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), NO_LABEL, dtype=torch.int64)
    row_ids = torch.full((len(rows), width), -1, dtype=torch.int64)
    positions = (
        torch.arange(width).repeat(len(rows), 1).clamp(max=torch.tensor([[len(row) - 1] for row in rows]))
    )
    for i, row in enumerate(rows):
        ids = torch.tensor(row.token_ids)
        token_ids[i, : len(row)], token_ids[i, len(row) :] = ids, ids[-1]
        labels[i, : len(row)] = torch.where(torch.tensor(row.labelled), ids, NO_LABEL)
        row_ids[i, : len(row)] = i
    tokens = sum(map(len, rows))
    return Batch(
        token_ids.to(device),
        labels.to(device),
        tokens,
        row_ids.to(device),
        tuple(examples),
        positions.to(device),
    )
