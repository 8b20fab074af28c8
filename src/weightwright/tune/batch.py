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

    Packed rows stand in one line; `bounds` has where each begins, and the end of the last; `positions` [lines, width]
    i64 begin again with each. On a CPU padding stands behind them as one row more (see `pack`). Without
    bounds each row has a line of its own, padded on the right. `row_ids` tells the rows of all examples apart, in
    their order (-1: padding).
    """

    token_ids: Tensor
    labels: Tensor
    tokens: int  # without padding
    row_ids: Tensor
    examples: tuple[Example, ...] = ()
    positions: Tensor | None = None
    bounds: tuple[int, ...] = ()

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
) -> list[Batch]:
    """Examples as passes of at most `max_rows` rows where given, else of about `max_tokens` tokens."""
    if packed:
        groups = packs(
            [example.tokens for example in examples],
            [len(example.rows) for example in examples],
            max_rows,
            max_tokens,
        )
        return [pack([examples[n] for n in numbers], device) for numbers in groups]
    lengths = [example.longest for example in examples]
    together = max(len(example.rows) for example in examples)
    most = None if max_rows is None else max(1, max_rows // together)
    passes = micro_batches(lengths, max_rows=most, max_tokens=max_tokens // together)
    return [pad([examples[n] for n in numbers], device) for numbers in passes]


def pack(examples: Sequence[Example], device: torch.device | str) -> Batch:
    """Rows one behind the other. The first token of a row carries no loss: the row before it never predicts it.

    On a CPU the line is padded to one of few widths: oneDNN keeps 0.7 MB for each product of a width it has met.
    """
    rows = [row for example in examples for row in example.rows]
    ids = [token for row in rows for token in row.token_ids]
    labels = [
        token if labelled and place else NO_LABEL
        for row in rows
        for place, (token, labelled) in enumerate(zip(row.token_ids, row.labelled, strict=True))
    ]
    places = [*map(len, rows)]
    row_ids = [n for n, length in enumerate(places) for _ in range(length)]
    tokens = len(ids)
    behind = padded_rows(tokens) - tokens if torch.device(device).type == "cpu" else 0
    if behind:
        places.append(behind)
        ids, labels, row_ids = ids + [0] * behind, labels + [NO_LABEL] * behind, row_ids + [-1] * behind
    longest = max(
        map(len, rows)
    )  # padding has no position beyond: the rotary embedding may follow the highest
    positions = torch.cat([torch.arange(length).clamp(max=longest - 1) for length in places])
    return Batch(
        token_ids=torch.tensor([ids], device=device),
        labels=torch.tensor([labels], device=device),
        tokens=tokens,
        row_ids=torch.tensor([row_ids], device=device),
        examples=tuple(examples),
        positions=positions[None].to(device),
        bounds=(0, *accumulate(places)),
    )


def pad(examples: Sequence[Example], device: torch.device | str) -> Batch:
    """A line a row. Causal attention never looks right, so padding needs no mask."""
    rows = [row for example in examples for row in example.rows]
    width = max(map(len, rows))
    token_ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), NO_LABEL, dtype=torch.int64)
    row_ids = torch.full((len(rows), width), -1, dtype=torch.int64)
    positions = (
        torch.arange(width).repeat(len(rows), 1).clamp(max=torch.tensor([[len(row) - 1] for row in rows]))
    )
    for i, row in enumerate(rows):
        ids = torch.tensor(row.token_ids)
        token_ids[i, : len(row)] = ids
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
