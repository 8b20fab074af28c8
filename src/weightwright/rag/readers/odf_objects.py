"""Charts and formulas that lie in OpenDocument files as objects, as a line of text."""

import posixpath
import re
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.html_math import math_text
from weightwright.rag.readers.package import Package, attribute, child, descendants, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_PREFIX = re.compile(r"(</?)\w+:")


def object_text(package: Package, element: "Element") -> str:
    """What an object (`draw:object`) shows; "" where that is not known."""
    root = next(descendants(element, "math"), None)
    if root is None:
        name = attribute(element, "href") or ""
        root = package.xml(posixpath.join(posixpath.normpath(name), "content.xml")) if name else None
    if root is None:
        return ""
    formula = root if local(root) == "math" else next(descendants(root, "math"), None)
    if formula is not None:
        return _formula(formula)
    chart = next(descendants(root, "chart"), None)
    chart = child(chart, "chart") if chart is not None and child(chart, "chart") is not None else chart
    return _chart(chart) if chart is not None else ""


def _formula(formula: "Element") -> str:
    from lxml import etree
    from selectolax.lexbor import LexborHTMLParser

    source = _PREFIX.sub(r"\1", etree.tostring(formula, encoding="unicode", with_tail=False))
    node = LexborHTMLParser(source).css_first("math")
    return math_text(node) if node is not None else ""


def _chart(chart: "Element") -> str:
    """`Title; Income: 2022 4.1; 2023 5.2`."""
    said = [_text(title) for title in descendants(chart, "title", "subtitle")]
    rows = [
        [_text(cell) for cell in descendants(row, "table-cell")] for row in descendants(chart, "table-row")
    ]
    names, *points = rows or [[]]
    for column in range(1, max(map(len, rows), default=0)):
        values = [f"{row[0]} {row[column]}".strip() for row in points if column < len(row)]
        said.append(f"{names[column] if column < len(names) else ''}: {'; '.join(values)}")
    return "; ".join(filter(None, said))


def _text(element: "Element") -> str:
    return " ".join("".join(part.itertext()) for part in descendants(element, "p")).strip()
