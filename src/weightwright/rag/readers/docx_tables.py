"""Tables of Word documents as rows of texts."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.docx_styles import is_on
from weightwright.rag.readers.package import attribute, child, chosen, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_MOST_SPANNED = 1000


def table_of(table: "Element", text: "Callable[[Element], str]") -> tuple[list[list[str]], bool]:
    """The rows, and whether the first names the columns.

    A cell over several rows is repeated in each; one over several columns stands in its first.
    """
    rows: list[list[str]] = []
    header = _has_header(table)
    for row in _inside(table, "tr"):
        properties = child(row, "trPr")
        if _is_gone(row):
            continue
        if not rows and is_on(child(properties, "tblHeader")):
            header = True
        line = [""] * _count(child(properties, "gridBefore"))
        for cell in _inside(row, "tc"):
            if child(cell, "tcPr", "cellDel") is not None:
                continue
            merged = child(cell, "tcPr", "vMerge")
            goes_on = merged is not None and attribute(merged, "val") != "restart"
            above = rows[-1][len(line)] if goes_on and rows and len(line) < len(rows[-1]) else ""
            line.append(text(cell) or above)
            if not is_on(child(cell, "tcPr", "hMerge")):
                line += [""] * (max(1, _count(child(cell, "tcPr", "gridSpan"))) - 1)
        rows.append(line)
    return rows, header


def cells_of(table: "Element") -> "Iterator[Element]":
    """The cells of a table that are shown."""
    for row in _inside(table, "tr"):
        if not _is_gone(row):
            yield from (cell for cell in _inside(row, "tc") if child(cell, "tcPr", "cellDel") is None)


def _is_gone(row: "Element") -> bool:
    properties = child(row, "trPr")
    return child(properties, "del") is not None or is_on(child(properties, "hidden"))


def _inside(container: "Element", name: str) -> "Iterator[Element]":
    """Rows or cells of one table, those in content controls with them."""
    stack = list(reversed(container))
    while stack:
        element = stack.pop()
        if local(element) == name:
            yield element
        elif local(element) == "AlternateContent":
            stack.extend(reversed(chosen(element)))
        elif local(element) in ("sdt", "sdtContent", "customXml", "ins"):
            stack.extend(reversed(element))


def _has_header(table: "Element") -> bool:
    look = child(table, "tblPr", "tblLook")
    if look is None:
        return False
    first = attribute(look, "firstRow")
    if first is not None:
        return first in ("1", "true", "on")
    value = attribute(look, "val") or "0"
    return re.fullmatch(r"[0-9A-Fa-f]{1,8}", value) is not None and bool(int(value, 16) & 0x20)


def _count(element: "Element | None") -> int:
    value = attribute(element, "val") or ""
    return min(int(value), _MOST_SPANNED) if value.isdecimal() else 0
