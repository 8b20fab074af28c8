"""Rows of tables among a passage's sentences: their head, and the cell that says what a row is about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weightwright.rag.sentences import Range

_CELLS = re.compile(r"\s*\|(?P<first>[^|\n]*)\|")
_RULE = re.compile(r"\s*\|?[\s:|-]*-{2,}[\s:|-]*$")
_FIELDS = re.compile(r"(?P<first>[^,\n]*)(?:,(?=[^\s,])[^,\n]*){2,}$")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its first cell, and the place among the sentences of the row that names its columns, if any."""

    first: str
    head: int | None = None
    cells: tuple[str, ...] = ()
    rule: bool = False  # the line below the names of columns


def rows(text: str, ranges: Sequence[Range]) -> list[Row | None]:
    """For each sentence the row that it is, or None."""
    found: list[Row | None] = []
    before: int | None = None  # the first row of the table
    head: int | None = None
    for n, (start, end) in enumerate(ranges):
        line = text[start:end].strip()
        cells = _CELLS.match(line) or _FIELDS.match(line)
        if _RULE.match(line) and before == n - 1:
            head = before
            found.append(Row("", rule=True))
            continue
        if cells is None:
            before = head = None
            found.append(None)
            continue
        if before is None:
            before = n
            if "|" not in line and not re.search(r"\d", line):
                head = n  # names of columns before comma-separated values
        parts = line.strip("|").split("|") if line.startswith("|") else line.split(",")
        found.append(Row(cells["first"].strip(), head if head != n else None, tuple(map(str.strip, parts))))
    return found
