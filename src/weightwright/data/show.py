"""Rows as a model reads them, with the tokens that carry loss."""

from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from weightwright.data.catalogue import Source
from weightwright.data.formats import read_parts
from weightwright.data.sample import Judged
from weightwright.data.settings import DataShowSettings
from weightwright.data.template import Encoded, encode_row
from weightwright.ports import Tokenizer

Runs = list[tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row as the model reads it: its text, cut where labelled tokens and others meet, and how it was judged."""

    row: Encoded
    runs: Runs
    note: str = ""

    def data(self) -> dict[str, Any]:
        """The row as JSON."""
        fields: dict[str, Any] = {
            "place": str(self.row.place),
            "tokens": len(self.row),
            "labelled_tokens": self.row.labelled_tokens,
            "parts": [{"labelled": labelled, "text": text} for labelled, text in self.runs],
        }
        return fields | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, slots=True)
class FilePreview:
    """All rows of a file in numbers, and those that were asked for."""

    rows: int
    tokens: int
    labelled_tokens: int
    longest: int
    shown: tuple[PreviewRow, ...]

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "labelled_tokens": self.labelled_tokens,
            "longest": self.longest,
            "shown": [one.data() for one in self.shown],
        }


def show(settings: DataShowSettings, tokenizer: Tokenizer) -> FilePreview:
    """Read all rows, and cut those asked for into labelled and other text; a pair is two, the chosen one first.

    Raises DataError with the row's place.
    """
    count = tokens = labelled_tokens = longest = 0
    shown: list[PreviewRow] = []
    rows = chain.from_iterable(part.read() for part in read_parts(Source(settings.file), settings.prompt))
    for count, row in enumerate(rows, 1):
        encoded = encode_row(row, tokenizer, settings.train_on)
        tokens += sum(map(len, encoded))
        labelled_tokens += sum(one.labelled_tokens for one in encoded)
        longest = max(longest, *map(len, encoded))
        if settings.first <= count < settings.first + settings.count:
            shown += [PreviewRow(one, _runs(one, tokenizer), _note(row)) for one in encoded]
    return FilePreview(count, tokens, labelled_tokens, longest, tuple(shown))


def _note(row: Any) -> str:
    if not isinstance(row, Judged):
        return ""
    return "judged good" if row.good else "judged bad"


def _runs(row: Encoded, tokenizer: Tokenizer) -> Runs:
    """The row's text, cut where labelled and other tokens meet."""
    pairs = zip(row.labelled, row.token_ids, strict=True)
    return [
        (labelled, tokenizer.decode([token for _, token in part]))
        for labelled, part in groupby(pairs, key=lambda pair: pair[0])
    ]
