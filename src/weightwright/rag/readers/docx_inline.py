"""What a line of a Word document says: runs, fields, symbols, formulas, marks of notes, drawings."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.chart_text import chart_text
from weightwright.rag.readers.docx_fields import Fields
from weightwright.rag.readers.docx_styles import Styles, is_on
from weightwright.rag.readers.omml import omml_text
from weightwright.rag.readers.package import (
    Package,
    attribute,
    child,
    chosen,
    descendants,
    drawing_texts,
    local,
)
from weightwright.rag.readers.symbol_fonts import symbol, without_symbols
from weightwright.rag.readers.writer import lowered, raised

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_LEFT_OUT = frozenset(("del", "moveFrom", "delText", "delInstrText", "rPr", "pPr", "sdtPr"))
_TEXT = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,6}")
_RAISED_BY = 4  # half points


class Line:
    """Reads paragraphs; keeps the notes and text boxes that they refer to, and the page where Word was."""

    def __init__(self, package: Package, related: dict[str, tuple[str, str]], styles: Styles) -> None:
        self.boxes: list[Element] = []
        self.pending: list[tuple[str, Element]] = []  # notes that the block so far refers to: mark, note
        self.page = 1
        self.began: int | None = None  # the page where the paragraph's text begins
        self.hidden = 0  # runs with text that is not shown
        self._package = package
        self._related = related
        self._styles = styles
        self._notes = {
            kind: {attribute(note, "id"): note for note in _children(self.part(f"{kind}s"))}
            for kind in ("footnote", "endnote", "comment")
        }
        self._noted = 0

    def part(self, kind: str) -> "Element | None":
        """The part of a kind that the document is related to."""
        part = next((target for type_, target in self._related.values() if type_ == kind), None)
        return self._package.xml(part) if part else None

    def text(self, element: "Element") -> str:
        """The text of a paragraph or a part of it; its notes and text boxes come after the block."""
        out: list[str] = []
        fields = Fields()
        stack: list[Element] = list(reversed(element))
        while stack:
            part = stack.pop()
            name = local(part)
            if name in _LEFT_OUT or (name == "r" and self._is_hidden(part)):
                continue
            text: str | None = None
            if name == "AlternateContent":
                stack.extend(reversed(chosen(part)))
                continue
            if name == "instrText":
                fields.code(part.text or "")
                continue
            if name == "fldChar":
                text = fields.mark(part)
            elif not fields.hide:
                text = self._leaf(part, name, "".join(out[-2:]))
            if text is None:
                stack.extend(reversed(part))
            else:
                out.append(text)
                if self.began is None and text.strip():
                    self.began = self.page
        return "".join(out)

    def _leaf(self, part: "Element", name: str, before: str) -> str | None:
        """What a part says by itself; None where its parts say it."""
        if name == "t":
            fonts = child(part.getparent(), "rPr", "rFonts")
            return without_symbols(part.text or "", attribute(fonts, "ascii") or "")
        if name in _TEXT:
            return _TEXT[name]
        if name == "lastRenderedPageBreak":
            self.page += 1
            return ""
        if name == "sym":
            code = attribute(part, "char") or ""
            known = _HEXADECIMAL.fullmatch(code)
            return symbol(int(code, 16), attribute(part, "font") or "") if known else ""
        if name in ("footnoteReference", "endnoteReference", "commentReference"):
            return self._note(name.removesuffix("Reference"), part, before)
        if name in ("drawing", "pict", "object"):
            return self._drawing(part)
        if name in ("oMath", "oMathPara"):
            return omml_text(part)
        if name == "r":
            return self._run(part, before)
        if name == "ruby":
            base, reading = child(part, "rubyBase"), child(part, "rt")
            said = self.text(base) if base is not None else ""
            return f"{said}({self.text(reading)})" if reading is not None else said
        if name == "sdt" and child(part, "sdtPr", "showingPlcHdr") is not None:
            return ""
        return None

    def _run(self, run: "Element", before: str) -> str | None:
        """A raised or lowered run; None for others."""
        properties = child(run, "rPr")
        position = attribute(child(properties, "vertAlign"), "val") or self._styles.position(
            attribute(child(properties, "rStyle"), "val")
        )
        height = _height(run)
        if position not in ("superscript", "subscript") and abs(height) >= _RAISED_BY:
            beside = run.getprevious()
            if beside is not None and local(beside) == "r" and _height(beside) != height:
                position = "superscript" if height > 0 else "subscript"
        if position not in ("superscript", "subscript"):
            return None
        if any(local(part).endswith("Reference") or local(part) in ("fldChar", "instrText") for part in run):
            return None
        bare = "".join(
            self._leaf(part, local(part), "") or "" for part in run if local(part) not in _LEFT_OUT
        )
        return raised(bare, before) if position == "superscript" else lowered(bare, before)

    def _is_hidden(self, run: "Element") -> bool:
        own = child(run, "rPr", "vanish")
        if own is not None:
            hidden = is_on(own)
        else:
            hidden = self._styles.is_hidden(attribute(child(run, "rPr", "rStyle"), "val"))
        if hidden and any((part.text or "").strip() for part in run if local(part) == "t"):
            self.hidden += 1
        return hidden

    def _note(self, kind: str, reference: "Element", before: str) -> str:
        note = self._notes[kind].get(attribute(reference, "id"))
        if note is None:
            return ""
        if kind == "comment":
            author = attribute(note, "author") or ""
            self.pending.append((f"Comment ({author}):" if author else "Comment:", note))
            return ""
        if attribute(reference, "customMarkFollows") in ("1", "true", "on"):
            self.pending.append(("", note))
            return ""
        self._noted += 1
        mark = raised(str(self._noted), before)
        self.pending.append((mark, note))
        return mark

    def _drawing(self, drawing: "Element") -> str:
        """Text boxes are written after the block; diagrams and charts say their words, lettering its own."""
        for box in descendants(drawing, "txbxContent"):
            if not any(local(above) in ("Fallback", "txbxContent") for above in _up_to(box, drawing)):
                self.boxes.append(box)
        said = [attribute(path, "string") or "" for path in descendants(drawing, "textpath")]
        for found in descendants(drawing, "relIds", "chart"):
            part = self._related.get(attribute(found, "dm") or attribute(found, "id") or "")
            root = self._package.xml(part[1]) if part else None
            if root is not None:
                said.append(chart_text(root) if local(found) == "chart" else "; ".join(drawing_texts(root)))
        return f" {' '.join(said)} " if any(said) else ""


def _height(run: "Element") -> int:
    """How far a run stands above the line, in half points."""
    value = attribute(child(run, "rPr", "position"), "val") or "0"
    return int(value) if value.lstrip("-").isdecimal() else 0


def _children(element: "Element | None") -> "list[Element]":
    return [] if element is None else list(element)


def _up_to(element: "Element", top: "Element") -> "Iterator[Element]":
    for above in element.iterancestors():
        if above is top:
            return
        yield above
