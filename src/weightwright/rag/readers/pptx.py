"""PowerPoint: slide by slide, titles as headings, tables, diagrams, charts, speaker's notes and comments.

What stands on many slides (footers, fixed dates, texts of the master) is written once; numbers of slides and today's
date are not.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.base import Content
from weightwright.rag.readers.chart_text import chart_text
from weightwright.rag.readers.numerals import numeral
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
from weightwright.rag.readers.pptx_order import ordered_shapes, placeholder
from weightwright.rag.readers.writer import TextWriter, lowered, raised
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_TITLES = ("title", "ctrTitle")
_NUMBERS = re.compile(r"(arabic|alphaLc|alphaUc|romanLc|romanUc|ea1Ch[st]|ea1Jpn)(?:Db|Chs|Cht)?(\w*)")
_FORMS = {
    "arabic": "decimal", "alphaLc": "a", "alphaUc": "A", "romanLc": "i", "romanUc": "I",
    "ea1Chs": "chinese", "ea1Cht": "chinese", "ea1Jpn": "japanese",
}  # fmt: skip
_NO_CONTENT = ("sldNum", "dt", "sldImg", "hdr", "ftr")
_REPEATED = ("ftr", "dt", "hdr")
_ESCAPED = re.compile(r"_x000[BbDd]_")  # a line's end in a title


def read_pptx(data: bytes, settings: LoadSettings) -> Content:
    """Every slide in the order of the presentation. Raises DataError where it is none."""
    package = Package(data, settings, "pptx")
    main = package.first_related("", "officeDocument") or "ppt/presentation.xml"
    related = package.related(main)
    slides = child(package.main_xml(main), "sldIdLst")
    show = _Show(package, related)
    for number, slide in enumerate(slides if slides is not None else (), 1):
        ids = [value for key, value in slide.attrib.items() if str(key).startswith("{")]
        part = related.get(str(ids[0])) if ids else None
        if part is not None:
            show.write(part[1], number)
    core = child(package.xml("docProps/core.xml"), "title")
    name = core.text or "" if core is not None else ""
    attachments, notes = package.embedded()
    return show.writer.content("pptx", name, attachments=attachments, notes=notes)


class _Show:
    """Writes one presentation's slides."""

    def __init__(self, package: Package, related: dict[str, tuple[str, str]]) -> None:
        self.writer = TextWriter()
        self._package = package
        self._repeated: set[str] = set()  # texts that stand on many slides and are written
        self._masters: dict[str, Element | None] = {}
        self._authors: dict[str | None, str] = {}
        for kind, part in related.values():
            root = package.xml(part) if kind in ("commentAuthors", "authors") else None
            for author in root if root is not None else ():
                self._authors[attribute(author, "id")] = attribute(author, "name") or ""

    def write(self, name: str, number: int) -> None:
        """One slide; its place says that it is hidden."""
        root = self._package.xml(name)
        tree = child(root, "cSld", "spTree")
        if root is None or tree is None:
            return
        hidden = ", hidden" if attribute(root, "show") in ("0", "false") else ""
        related = self._package.related(name)
        above = self._above(root, related)
        self.writer.apart()
        self.writer.place(f"slide {number}{hidden}")
        shapes = list(ordered_shapes(tree, [tree for tree, _ in above]))
        title = next((shape for shape in shapes if placeholder(shape) in _TITLES), None)
        if title is not None:
            self.writer.heading(" ".join(_paragraphs(title)), 1)
        for shape in shapes:
            if shape is not title:
                self._shape(related, shape)
        self._write_repeated(shapes, above)
        for kind, part in related.values():
            if kind == "notesSlide":
                self._notes(self._package.xml(part))
            elif kind == "comments":
                self._comments(self._package.xml(part))

    def _above(self, slide: "Element", related: dict[str, tuple[str, str]]) -> "list[tuple[Element, bool]]":
        """The trees of a slide's layout and master, and whether their own shapes are shown on it."""
        found: list[tuple[Element, bool]] = []
        shown, element = True, slide
        for kind in ("slideLayout", "slideMaster"):
            part = next((target for type_, target in related.values() if type_ == kind), None)
            if part is None:
                break
            shown = shown and attribute(element, "showMasterSp") not in ("0", "false")
            if part not in self._masters:
                self._masters[part] = self._package.xml(part)
            root = self._masters[part]
            tree = child(root, "cSld", "spTree")
            if root is None or tree is None:
                break
            found.append((tree, shown))
            related, element = self._package.related(part), root
        return found

    def _write_repeated(self, shapes: "list[Element]", above: "list[tuple[Element, bool]]") -> None:
        """Footers and fixed dates of the slide, and texts of its layout and master, where they are new."""
        own = [shape for shape in shapes if placeholder(shape) in _REPEATED]
        for tree, shown in above:
            own += [shape for shape in ordered_shapes(tree, ()) if shown and placeholder(shape) is None]
        for shape in own:
            if any(
                (attribute(field, "type") or "").startswith("datetime") for field in descendants(shape, "fld")
            ):
                continue  # today's date
            text = "\n".join(_paragraphs(shape)).strip()
            if text and text not in self._repeated:
                self._repeated.add(text)
                self.writer.paragraph(text)

    def _shape(self, related: dict[str, tuple[str, str]], shape: "Element") -> None:
        if placeholder(shape) in _NO_CONTENT:
            return
        table = next(descendants(shape, "tbl"), None)
        if table is not None:
            _table(table, self.writer)
            return
        self.writer.apart()
        for text in _paragraphs(shape):
            self.writer.line(text)
        for found in descendants(shape, "relIds", "chart"):
            part = related.get(attribute(found, "dm") or attribute(found, "id") or "")
            root = self._package.xml(part[1]) if part else None
            if root is not None:
                is_chart = local(found) == "chart"
                self.writer.paragraph(chart_text(root) if is_chart else "; ".join(drawing_texts(root)))
        self.writer.apart()

    def _notes(self, root: "Element | None") -> None:
        tree = child(root, "cSld", "spTree")
        for shape in ordered_shapes(tree, ()) if tree is not None else ():
            text = "" if placeholder(shape) in _NO_CONTENT else "\n".join(_paragraphs(shape))
            if text.strip():
                self.writer.paragraph(f"Notes: {text}")

    def _comments(self, root: "Element | None") -> None:
        for comment in descendants(root, "cm", "reply") if root is not None else ():
            text = child(comment, "text")
            body = child(comment, "txBody")
            said = (
                [text.text or ""]
                if text is not None
                else list(drawing_texts(body))
                if body is not None
                else []
            )
            author = self._authors.get(attribute(comment, "authorId"), "")
            if "".join(said).strip():
                self.writer.paragraph(f"Comment{f' ({author})' if author else ''}: {' '.join(said)}")


def _paragraphs(shape: "Element") -> Iterator[str]:
    """The lines of a shape's text."""
    body = next(descendants(shape, "txBody"), None)
    counts: dict[int, tuple[str, int]] = {}  # by level: the form of its numbers, the last one
    for paragraph in body if body is not None else ():
        if local(paragraph) == "p":
            text = _paragraph(paragraph)
            number = _number(paragraph, counts) if text.strip() else ""
            yield from f"{number}{text}".split("\n")


def _number(paragraph: "Element", counts: dict[int, tuple[str, int]]) -> str:
    """What stands before an item of a numbered list: `2. `, `(b) `."""
    properties = child(paragraph, "pPr")
    numbered = child(properties, "buAutoNum")
    level, start = (int(value) if value.isdecimal() else 1 for value in (
        attribute(properties, "lvl") or "0", attribute(numbered, "startAt") or "1"
    ))  # fmt: skip
    for deeper in [other for other in counts if other > level or (other == level and numbered is None)]:
        del counts[deeper]
    if numbered is None:
        return ""
    form = attribute(numbered, "type") or "arabicPeriod"
    before, number = counts.get(level, (form, start - 1))
    number = number + 1 if before == form else start
    counts[level] = (form, number)
    found = _NUMBERS.match(form)
    if found is None:
        return f"{number}. "
    said = numeral(number, _FORMS[found[1]])
    return {"Period": f"{said}. ", "ParenR": f"{said}) ", "ParenBoth": f"({said}) "}.get(found[2], f"{said} ")


def _paragraph(paragraph: "Element") -> str:
    out = ""
    for run in paragraph:
        match local(run):
            case "r" | "fld":
                out += _run(run, out)
            case "br":
                out += "\n"
            case "m":
                out += "".join(map(omml_text, descendants(run, "oMath")))
            case "AlternateContent":
                formulas = [formula for part in chosen(run) for formula in descendants(part, "oMath")]
                out += "".join(map(omml_text, formulas)) or "".join(
                    _run(part, out) for part in chosen(run) if local(part) == "r"
                )
    return out


def _run(run: "Element", before: str) -> str:
    text = child(run, "t")
    said = _ESCAPED.sub("\n", text.text or "") if text is not None else ""
    if attribute(run, "type") == "slidenum":
        return ""
    offset = attribute(child(run, "rPr"), "baseline") or "0"
    if offset.startswith("-"):
        return lowered(said, before)
    return said if offset in ("0", "0%") else raised(said, before)


def _table(table: "Element", writer: TextWriter) -> None:
    rows: list[list[str]] = []
    for row in table:
        if local(row) != "tr":
            continue
        line: list[str] = []
        for cell in row:
            if local(cell) != "tc":
                continue
            goes_on = attribute(cell, "vMerge") in ("1", "true")
            above = rows[-1][len(line)] if goes_on and rows and len(line) < len(rows[-1]) else ""
            text = " ".join(_paragraphs(cell)).strip()
            line.append("" if attribute(cell, "hMerge") in ("1", "true") else text or above)
        rows.append(line)
    writer.table(rows, header=attribute(child(table, "tblPr"), "firstRow") in ("1", "true"))
