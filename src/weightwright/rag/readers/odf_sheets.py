"""Tables of OpenDocument files as rows of texts: what is hidden, repeated, merged, and what is noted beside cells."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.package import attribute, child, descendants, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_MOST_REPEATED = 1000
_MOST_EMPTY = 100
_HIDDEN = ("collapse", "filter")


@dataclass(slots=True)
class Grid:
    """The rows of a table with their numbers, and what is not among them."""

    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    hidden_rows: int = 0
    hidden_columns: int = 0
    comments: list[tuple[str, str]] = field(default_factory=list)  # cell, text
    drawings: "list[Element]" = field(default_factory=list)


def grid_of(table: "Element", text: "Callable[[Element], str]", said: "Callable[[Element], str]") -> Grid:
    """A table's grid; `text` reads a cell, `said` a comment.

    A cell over several rows is repeated in each; one over several columns stands in its first.
    """
    found = Grid(drawings=[shape for part in table if local(part) == "shapes" for shape in part])
    hidden = _hidden_columns(table)
    number = 0
    spanned: dict[int, tuple[int, str]] = {}  # column → rows to come, text
    for row in descendants(table, "table-row"):
        if next(row.iterancestors("{*}table")) is not table:
            continue
        times = _repeated(row, "number-rows-repeated")
        cells = _cells(row, spanned, text)
        is_hidden = attribute(row, "visibility") in _HIDDEN
        if any(cells):
            found.hidden_rows += times if is_hidden else 0
            found.hidden_columns = max(
                found.hidden_columns, sum(bool(c) for n, c in enumerate(cells) if n in hidden)
            )
            shown = [cell for n, cell in enumerate(cells) if n not in hidden]
            for n in range(0 if is_hidden else min(times, _MOST_REPEATED)):
                found.rows.append((number + n + 1, shown))
        if not is_hidden:
            _beside(row, number + 1, found, said)
        number += times
    return found


def _cells(
    row: "Element", spanned: dict[int, tuple[int, str]], text: "Callable[[Element], str]"
) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if local(cell) not in ("table-cell", "covered-table-cell"):
            continue
        times = _repeated(cell, "number-columns-repeated")
        if local(cell) == "covered-table-cell":  # its own text is not shown
            cells += [_above(spanned, len(cells)) for _ in range(min(times, _MOST_EMPTY))]
            continue
        own = text(cell) or _value(cell)
        down, across = _repeated(cell, "number-rows-spanned"), _repeated(cell, "number-columns-spanned")
        if down > 1 and own:
            spanned[len(cells)] = (down - 1, own)
            spanned |= {len(cells) + n: (down - 1, "") for n in range(1, min(across, _MOST_EMPTY))}
        cells += [own] * min(times, _MOST_REPEATED if own.strip() else _MOST_EMPTY)
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _above(spanned: dict[int, tuple[int, str]], column: int) -> str:
    rows, said = spanned.get(column, (0, ""))
    if rows:
        spanned[column] = (rows - 1, said)
    return said if rows else ""


def _value(cell: "Element") -> str:
    """What a cell without a text holds."""
    kind = attribute(cell, "value-type")
    if kind in (None, "string"):
        return attribute(cell, "string-value") or ""
    name = {"date": "date-value", "time": "time-value", "boolean": "boolean-value"}.get(str(kind), "value")
    return attribute(cell, name) or ""


def _hidden_columns(table: "Element") -> set[int]:
    hidden: set[int] = set()
    at = 0
    for column in descendants(table, "table-column"):
        if next(column.iterancestors("{*}table")) is not table:
            continue
        times = _repeated(column, "number-columns-repeated")
        if attribute(column, "visibility") in _HIDDEN:
            hidden.update(range(at, at + min(times, 16_384)))
        at += times
    return hidden


def _beside(row: "Element", number: int, found: Grid, said: "Callable[[Element], str]") -> None:
    """Comments and drawings that belong to cells."""
    column = 0
    for cell in row:
        if local(cell) not in ("table-cell", "covered-table-cell"):
            continue
        for part in cell:
            if local(part) == "annotation":
                found.comments.append((f"{letters(column)}{number}", said(part)))
            elif local(part) in ("frame", "custom-shape", "g"):
                found.drawings.append(part)
        column += _repeated(cell, "number-columns-repeated")


def letters(column: int) -> str:
    """A column's letters, from 0."""
    out = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        out = chr(ord("A") + rest) + out
    return out


def has_header(table: "Element") -> bool:
    """Whether a table of a text names its columns in its first row."""
    return next((local(part) == "table-header-rows" for part in table if "row" in local(part)), False)


def hidden_tables(root: "Element") -> set[str | None]:
    """The styles of sheets that are not shown."""
    return {
        attribute(style, "name")
        for style in descendants(root, "style")
        if attribute(child(style, "table-properties"), "display") == "false"
    }


def _repeated(element: "Element", name: str) -> int:
    value = attribute(element, name) or "1"
    return int(value) if value.isdecimal() else 1
