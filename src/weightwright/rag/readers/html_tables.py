"""Tables of HTML pages: which hold data, and their rows with cells that span several."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_LAYOUT = "table, h1, h2, h3, h4, h5, h6, pre, form, article, section, nav"
_MOST_SPANNED = 1000  # columns or rows; browsers have this limit for columns
_MOST_CELLS = 2_000_000


def is_data_table(node: "LexborNode") -> bool:
    """Whether a table holds data, not a page's layout: small cells in more than one column."""
    if node.attributes.get("role") in ("presentation", "none"):
        return False
    if any(inner.mem_id != node.mem_id for inner in node.css(_LAYOUT)):
        return False
    return any(len(_cells(row)) > 1 for row in node.css("tr"))


def table_rows(
    node: "LexborNode", hides: "Callable[[LexborNode], bool]", text: "Callable[[LexborNode], str]"
) -> tuple[list[list[str]], bool]:
    """The rows of a data table, and whether the first names the columns.

    A cell over several rows is repeated in each; one over several columns stands in its first.
    """
    rows: list[list[str]] = []
    waiting: dict[int, tuple[int, str]] = {}  # column → rows to come, text
    header: bool | None = None
    total = 0
    for row in _in_order(node):
        if hides(row) or (row.parent is not None and hides(row.parent)):
            continue
        cells = [cell for cell in _cells(row) if not hides(cell)]
        if header is None and cells:
            in_head = row.parent is not None and row.parent.tag == "thead"
            header = in_head or (len(cells) > 1 and all(cell.tag == "th" for cell in cells))
        line = _filled(cells, waiting, text)
        rows.append(line)
        total += len(line)
        if total > _MOST_CELLS:
            break
    return rows, bool(header)


def _in_order(node: "LexborNode") -> "list[LexborNode]":
    """The rows as they are shown: the head first, the foot last, wherever they are written."""
    places = {"thead": 0, "tfoot": 2}
    rows = node.css("tr")
    return sorted(
        rows, key=lambda row: places.get((row.parent.tag or "") if row.parent is not None else "", 1)
    )


def _filled(
    cells: "list[LexborNode]", waiting: dict[int, tuple[int, str]], text: "Callable[[LexborNode], str]"
) -> list[str]:
    line: list[str] = []
    for cell in cells:
        _take_waiting(line, waiting)
        down, across = _span(cell, "rowspan"), max(1, _span(cell, "colspan"))
        down = down or _MOST_SPANNED  # 0: to the end of the table
        said = text(cell)
        for number in range(across):
            column = len(line)
            line.append(said if number == 0 else "")
            if down > 1:
                waiting[column] = (down - 1, line[column])
    _take_waiting(line, waiting)
    return line


def _take_waiting(line: list[str], waiting: dict[int, tuple[int, str]]) -> None:
    while len(line) in waiting:
        column = len(line)
        rows, said = waiting.pop(column)
        line.append(said)
        if rows > 1:
            waiting[column] = (rows - 1, said)


def _span(cell: "LexborNode", name: str) -> int:
    value = (cell.attributes.get(name) or "1").strip()
    return min(int(value), _MOST_SPANNED) if value.isdecimal() and len(value) < 9 else 1


def _cells(row: "LexborNode") -> "list[LexborNode]":
    found, cell = [], row.child
    while cell is not None:
        if cell.tag in ("td", "th"):
            found.append(cell)
        cell = cell.next
    return found
