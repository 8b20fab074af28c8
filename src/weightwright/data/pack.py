"""Which rows a step reads, and how they are laid into padded micro-batches.

Both are pure functions of a seed and a position, so a run that is resumed reads exactly what it would
have read. Within a step rows are sorted by length and cut where padding costs more than another pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from weightwright.data.template import Encoded
from weightwright.errors import DataError

TooLong = Literal["error", "drop", "truncate", "split"]

# What a pass costs beside its tokens, in tokens: calling the layers, reading the weights. Measured on a
# 135M model on a CPU: passes of 64 tokens take as long as 128 at the rate of large ones.
PASS_OVERHEAD_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """Rows that keep to the length limit, and what was done to the others.

    `dropped` counts rows that were left out, and the pieces of split rows that held nothing to learn.
    """

    rows: tuple[Encoded, ...]
    dropped: int = 0
    truncated: int = 0
    split: int = 0


def fit(rows: Sequence[Encoded], max_length: int, too_long: TooLong) -> Fitted:
    """Apply the length limit in tokens; a row or piece without a labelled token after a cut is dropped and counted.

    `split` cuts a row into consecutive pieces; the first token of a piece has nothing before it, so it is not learnt.
    Raises DataError for `error`, naming how many rows are too long, the longest, and the choices.
    """
    over = [row for row in rows if len(row) > max_length]
    if not over:
        return Fitted(tuple(rows))
    if too_long == "error":
        raise too_long_error(len(over), len(rows), max(over, key=len), max_length)
    kept: list[Encoded] = []
    dropped = cut = 0
    for row in rows:
        if len(row) <= max_length:
            kept.append(row)
            continue
        pieces = _pieces(row, max_length)
        pieces = {"drop": [], "truncate": pieces[:1], "split": pieces}[too_long]
        learnt = [piece for piece in pieces if piece.labelled_tokens]
        kept += learnt
        cut += bool(learnt)
        dropped += max(len(pieces), 1) - len(learnt)
    if too_long == "split":
        return Fitted(tuple(kept), dropped, split=cut)
    return Fitted(tuple(kept), dropped, truncated=cut)


def too_long_error(over: int, rows: int, longest: Encoded, max_length: int) -> DataError:
    """What is said where rows may not be longer than the limit and some are."""
    return DataError(
        None,
        f"{over} of {rows} rows are longer than {max_length} tokens (the longest, {longest.place}, has "
        f"{len(longest)}); raise --max-length if the model can read more, or choose --too-long drop, truncate or "
        "split",
    )


def _pieces(row: Encoded, max_length: int) -> list[Encoded]:
    """Consecutive pieces of at most `max_length` tokens; the first keeps the row's place."""
    return [
        Encoded(
            row.token_ids[start : start + max_length],
            row.labelled[start : start + max_length],
            row.place if not start else row.place.within(f"piece {start // max_length + 1}"),
        )
        for start in range(0, len(row), max_length)
    ]


def step_count(rows: int, epochs: int, batch: int) -> int:
    """Steps that read every row `epochs` times; the last one may be smaller."""
    return -(-rows * epochs // batch)


def rows_of_step(step: int, *, rows: int, epochs: int, batch: int, seed: int) -> list[int]:
    """The row numbers that step `step` (from 0) reads: each epoch is a new seeded order of all rows."""
    first, end = step * batch, min((step + 1) * batch, rows * epochs)
    orders = {epoch: _order(rows, epoch, seed) for epoch in range(first // rows, (end - 1) // rows + 1)}
    return [int(orders[position // rows][position % rows]) for position in range(first, end)]


def _order(rows: int, epoch: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.random.default_rng([seed, epoch]).permutation(rows)


def micro_batches(lengths: Sequence[int], *, max_rows: int | None, max_tokens: int) -> list[list[int]]:
    """Cut rows of these lengths into passes that cost least, longest first; numbers index `lengths`.

    A pass of n rows as wide as its longest costs n x width + PASS_OVERHEAD_TOKENS. At most `max_rows`
    rows a pass where given, else at most `max_tokens` tokens (one row may be longer).
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    cost = [0.0] + [float("inf")] * len(order)  # cost[e]: the cheapest way to lay the first e rows
    cut = [0] * (len(order) + 1)
    for start in range(len(order)):
        width = lengths[order[start]]
        most = max_rows if max_rows is not None else max(1, max_tokens // max(width, 1))
        for end in range(start + 1, min(start + most, len(order)) + 1):
            total = cost[start] + (end - start) * width + PASS_OVERHEAD_TOKENS
            if total < cost[end]:
                cost[end], cut[end] = total, start
    passes: list[list[int]] = []
    end = len(order)
    while end:
        passes.append(order[cut[end] : end])
        end = cut[end]
    return passes[::-1]


def packs(
    tokens: Sequence[int], rows: Sequence[int], max_rows: int | None, max_tokens: int
) -> list[list[int]]:
    """Lay units of these `tokens` (and `rows`) one behind the other into passes; numbers index `tokens`.

    Longest first, each into the first pass that has room (first-fit decreasing: never more than 11/9 of the fewest
    passes, Johnson 1973). A pass holds at most `max_rows` rows where given, else at most `max_tokens` tokens; a unit
    that is larger stands alone.
    """
    passes: list[list[int]] = []
    left: list[int] = []
    size = rows if max_rows is not None else tokens
    most = max_rows if max_rows is not None else max_tokens
    for number in sorted(range(len(tokens)), key=lambda i: (-tokens[i], i)):
        place = next((at for at, room in enumerate(left) if room >= size[number]), len(left))
        if place == len(left):
            passes.append([])
            left.append(most)
        passes[place].append(number)
        left[place] -= size[number]
    return passes
