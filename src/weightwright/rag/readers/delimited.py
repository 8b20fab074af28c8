"""CSV and TSV: a table whose rows are places; the delimiter is found, in any encoding."""

import csv
import io
from collections.abc import Iterator
from typing import Literal

from weightwright.errors import DataError
from weightwright.ports import Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import decode
from weightwright.rag.readers.sheets import names_columns
from weightwright.rag.readers.text import without_data
from weightwright.rag.readers.writer import TextWriter
from weightwright.rag.settings import LoadSettings

_DELIMITERS = ",\t;|"
_SEEN_ROWS = 50
_LEAST_ROWS = 2
_MOST_LINES = 100  # of a cell
_LONGEST_CELL = 2**31 - 1


def read_delimited(data: bytes, _settings: LoadSettings) -> Content:
    """Rows as a table; a file without columns stays text."""
    text = decode(data)
    named = text.partition("\n")[0]
    if named.lower().startswith("sep=") and len(named.strip()) == 5:  # Excel's first line
        delimiter: str | None = named.strip()[4]
        text = "\n" + text.partition("\n")[2]
    else:
        delimiter = _delimiter(text)
    if delimiter is None:
        return Content(without_data(text), "csv", places=(Place(0, "", lines=1),))
    rows = list(_rows(text, delimiter))
    if len(rows) < _LEAST_ROWS:
        return Content(without_data(text), "csv", places=(Place(0, "", lines=1),))
    cells = [row for _, row in rows]
    writer = TextWriter()
    labels = [f"line {number}" for number, _ in rows]
    writer.table(cells, header=names_columns(cells), labels=labels)
    return writer.content("csv")


def _delimiter(text: str) -> str | None:
    """The delimiter that cuts most of the first rows into the same number of cells, the most there are."""
    best, best_score = None, 0.0
    sample = "\n".join(text.split("\n", _SEEN_ROWS)[:_SEEN_ROWS])
    for delimiter in _DELIMITERS:
        widths = [len(row) for _, row in _rows(sample, delimiter)]
        if not widths:
            continue
        usual = max(set(widths), key=lambda width: (widths.count(width), width))
        share = widths.count(usual) / len(widths)
        score = share * (1 + min(usual, 20) / 100) if usual > 1 else 0.0
        if score > best_score and share >= 0.5:
            best, best_score = delimiter, score
    return best


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with something in them, each with its first line from 1."""
    csv.field_size_limit(_LONGEST_CELL)
    rows = _parsed(text, delimiter, csv.QUOTE_MINIMAL)
    if any(
        cell.count("\n") > _MOST_LINES for _, row in rows for cell in row
    ):  # a quotation that does not end
        rows = _parsed(text, delimiter, csv.QUOTE_NONE)
    yield from rows


def _parsed(text: str, delimiter: str, quoting: Literal[0, 3]) -> list[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, quoting=quoting
    )
    rows, before = [], 0
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((before + 1, row))
            before = reader.line_num
    except csv.Error as error:
        raise DataError(None, f"line {reader.line_num}: no row of a table ({error})") from error
    return rows
