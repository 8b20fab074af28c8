"""What rows have in common at their beginnings stands in a pass once: a system prompt, a question with two answers.

Hidden states follow from the tokens before alone, so those of a common beginning are the same in every row, and its
gradient is the sum of theirs. Tokens that predict a labelled one always stay the row's own.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from weightwright.data.template import Encoded

LEAST = 16  # tokens that are worth a segment of their own


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens start to end of row `row`; `before` has the numbers of the segments that it goes on from.

    One that several rows go on from is `shared`.
    """

    row: int
    start: int
    end: int
    before: tuple[int, ...] = ()
    shared: bool = False


def segments(rows: Sequence[Encoded]) -> list[Segment]:
    """The segments of rows in an order in which each stands behind those that it goes on from.

    Rows that begin alike stand beside each other.
    """
    laid: list[Segment] = []
    heads = [row.token_ids[: own_from(row)] for row in rows]
    _lay(sorted(range(len(rows)), key=heads.__getitem__), rows, heads, 0, 0, (), laid)
    return laid


def own_from(row: Encoded) -> int:
    """How many tokens of a row may be shared: those before the one that predicts the first label."""
    first = next((n for n, labelled in enumerate(row.labelled) if labelled and n), len(row))
    return max(0, first - 1)


def _lay(
    numbers: Sequence[int], rows: Sequence[Encoded], heads: Sequence[Sequence[int]], start: int, looked: int,
    before: tuple[int, ...], laid: list[Segment],
) -> None:  # fmt: skip
    """Lay rows that are alike in their first `looked` tokens, of which the first `start` stand already."""
    if len(numbers) == 1:
        laid.append(Segment(numbers[0], start, len(rows[numbers[0]]), before))
        return
    common = looked + _alike(
        heads[numbers[0]][looked:], heads[numbers[-1]][looked:]
    )  # the others stand between
    if common - start >= LEAST:
        before = (*before, len(laid))
        laid.append(Segment(numbers[0], start, common, before[:-1], shared=True))
        start = common
    for token, alike in groupby(numbers, key=lambda n: heads[n][common] if len(heads[n]) > common else None):
        for some in [list(alike)] if token is not None else [[n] for n in alike]:
            _lay(some, rows, heads, start, common + 1, before, laid)


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows begin with together."""
    return next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def common_tokens(rows: Sequence[Encoded]) -> int:
    """With how many tokens all rows begin that may stand once; 0 where they are not worth it."""
    heads = sorted(row.token_ids[: own_from(row)] for row in rows)
    common = _alike(heads[0], heads[-1]) if heads else 0
    return common if common >= LEAST else 0


def computed_tokens(rows: Sequence[Encoded]) -> int:
    """Tokens of a pass with these rows."""
    return sum(segment.end - segment.start for segment in segments(rows))


def groups(examples: Sequence[Sequence[Encoded]], max_tokens: int) -> list[list[int]]:
    """Divide examples (rows that stay together) into passes of at most `max_tokens` computed tokens, evenly filled.

    Those that begin alike go together; an example that is larger stands alone. Numbers index `examples`.
    """
    order = sorted(range(len(examples)), key=lambda n: examples[n][0].token_ids)
    sizes = [computed_tokens(examples[n]) for n in order]
    heads = [examples[n][0].token_ids[: own_from(examples[n][0])] for n in order]
    common = [0, *(_alike(*pair) for pair in pairwise(heads))]  # with the one before
    more = [size - (same if same >= LEAST else 0) for size, same in zip(sizes, common, strict=True)]
    fewest = len(_filled(sizes, more, max_tokens))
    room = bisect_left(range(max_tokens), -fewest, key=lambda most: -len(_filled(sizes, more, most)))
    return [[order[n] for n in some] for some in _filled(sizes, more, room)]


def _filled(sizes: Sequence[int], more: Sequence[int], most: int) -> list[range]:
    """Passes of neighbours: each takes `sizes` alone, `more` behind the one before; the next begins without room."""
    starts, used = [0], 0
    for n, size in enumerate(sizes):
        used += more[n] if n > starts[-1] else size
        if used > most and n > starts[-1]:
            starts.append(n)
            used = size
    return [range(a, b) for a, b in pairwise([*starts, len(sizes)])]
