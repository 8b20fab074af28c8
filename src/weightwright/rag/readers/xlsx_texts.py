"""Texts of Excel workbooks: shared strings, runs in cells, number formats and fonts of styles."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.docx_styles import is_on
from weightwright.rag.readers.number_formats import BUILT_IN
from weightwright.rag.readers.package import attribute, child, descendants, local
from weightwright.rag.readers.writer import lowered, raised, struck

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


@dataclass(frozen=True, slots=True)
class CellStyle:
    """How a cell is shown: its number format, and whether its text is struck out."""

    code: str = "General"
    is_struck: bool = False


def inside(root: "Element | None", name: str) -> "list[Element]":
    """The elements of the first one of this name."""
    found = child(root, name)
    return [] if found is None else list(found)


def strings(root: "Element | None") -> list[str]:
    """The shared strings."""
    return [rich(item) for item in (root if root is not None else ()) if local(item) == "si"]


def rich(element: "Element") -> str:
    """A text of several runs, without the readings of Japanese and Chinese."""
    out = ""
    for text in descendants(element, "t"):
        run = text.getparent()
        if run is None or local(run) == "rPh":
            continue
        said, properties = unescaped(text.text or ""), child(run, "rPr")
        position = attribute(child(properties, "vertAlign"), "val")
        if position in ("superscript", "subscript"):
            said = raised(said, out) if position == "superscript" else lowered(said, out)
        elif is_on(child(properties, "strike")):
            said = struck(said, out)
        elif out.endswith("~~") and said[:1].isalnum():
            said = f" {said}"
        out += said
    return out


def unescaped(text: str) -> str:
    """`_x000D_` and its like as the characters that they stand for."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text).replace("\x00", "")


def cell_styles(root: "Element | None") -> list[CellStyle]:
    """The styles of cells by their number."""
    own = {
        attribute(form, "numFmtId"): attribute(form, "formatCode") or "" for form in inside(root, "numFmts")
    }
    fonts = [is_on(child(font, "strike")) for font in inside(root, "fonts")]
    styles = []
    for style in inside(root, "cellXfs"):
        number, font = attribute(style, "numFmtId") or "0", attribute(style, "fontId") or ""
        code = own.get(number) or BUILT_IN.get(int(number) if number.isdecimal() else 0, "General")
        is_struck = font.isdecimal() and int(font) < len(fonts) and fonts[int(font)]
        styles.append(CellStyle(code, is_struck))
    return styles
