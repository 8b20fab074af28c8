"""Examples held to the length limit, one after the other; what was done to them is counted."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weightwright.data.pack import fit, too_long_error
from weightwright.data.template import Encoded
from weightwright.errors import Place, TuneError
from weightwright.tune.batch import Example
from weightwright.tune.settings import TuneSettings


class Within:
    """The limit in tokens, and how many examples were longer, were equal pairs, or had nothing to learn."""

    def __init__(self, limit: int, settings: TuneSettings) -> None:
        self._limit, self._how = limit, settings.too_long
        self._total = self._rows = self._equal = self._bare = 0
        self._over = self._dropped = self._cut = self._split = 0
        self._first_bare = Place()
        self._longest: Encoded | None = None
        if self._how == "split" and settings.objective not in ("sft", "pretrain"):
            raise TuneError(
                f"too_long=split cuts rows into pieces, which objective={settings.objective} cannot compare; "
                "use drop or truncate"
            )

    def kept(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The examples that can be learnt from, within the limit."""
        for example in examples:
            self._total, self._rows = self._total + 1, self._rows + len(example.rows)
            if not all(row.labelled_tokens for row in example.rows):
                self._first_bare = self._first_bare if self._bare else example.rows[0].place
                self._bare += 1
                continue
            for one in self._fitted(example):
                # pairs of equal rows have a constant loss of ln 2 (DPO) and no gradient
                if len(one.rows) > 1 and one.rows[0].token_ids == one.rows[1].token_ids:
                    self._equal += 1
                else:
                    yield _short_partner(one, self._limit)

    def check(self) -> None:
        """Raise TuneError where a row had nothing to learn, DataError where one was too long and may not be."""
        if self._bare:
            raise TuneError(
                f"{self._bare} of {self._total} rows have no labelled token, the first is {self._first_bare}; "
                "each row needs an answer to learn, see: weightwright data show"
            )
        if self._longest is not None:
            raise too_long_error(self._over, self._rows, self._longest, self._limit)

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        counts = {"dropped": self._dropped, "cut": self._cut, "split": self._split}
        of_all = f"of {self._total}"
        notes = [f"{n} {of_all} rows {what} at {self._limit} tokens" for what, n in counts.items() if n]
        if self._equal:
            notes.append(
                f"{self._equal} {of_all} pairs dropped, whose answers are the same within {self._limit} "
                "tokens: nothing would be learnt; raise --max-length"
            )
        return notes

    def _fitted(self, example: Example) -> list[Example]:
        over = [row for row in example.rows if len(row) > self._limit]
        if not over:
            return [example]
        if self._how == "error":
            self._over += len(over)
            self._longest = max(over if self._longest is None else [self._longest, *over], key=len)
            return []
        fitted = fit(example.rows, self._limit, self._how)
        if self._how == "split":
            self._split += fitted.split
            self._dropped += fitted.dropped
            return [Example((row,)) for row in fitted.rows]
        if len(fitted.rows) < len(example.rows):
            self._dropped += 1
            return []
        self._cut += bool(fitted.truncated)
        return [replace(example, rows=fitted.rows)]


def _short_partner(example: Example, limit: int) -> Example:
    """The example with its partner cut at the limit, without one where nothing labelled is left of it."""
    if example.partner is None:
        return example
    rows = fit(example.partner.rows, limit, "truncate").rows
    return replace(example, partner=Example(rows) if rows else None)
