"""PowerPoint: slide by slide, titles as headings, tables, diagrams, charts, speaker's notes and comments."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.base import Content
from weightwright.rag.readers.numerals import numeral
from weightwright.rag.readers.omml import omml_text
from weightwright.rag.readers.package import Package, attribute, child, descendants, drawing_texts, local
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


def read_pptx(data: bytes, settings: LoadSettings) -> Content:
    """Every slide in the order of the presentation. Raises DataError where it is none."""
    package = Package(data, settings, "pptx")
    main = package.first_related("", "officeDocument") or "ppt/presentation.xml"
    related = package.related(main)
    slides = child(package.main_xml(main), "sldIdLst")
    writer = TextWriter()
    for number, slide in enumerate(slides if slides is not None else (), 1):
        ids = [value for key, value in slide.attrib.items() if str(key).startswith("{")]
        part = related.get(str(ids[0])) if ids else None
        if part is not None:
            _slide(package, part[1], writer, number)
    core = child(package.xml("docProps/core.xml"), "title")
    name = core.text or "" if core is not None else ""
    attachments, notes = package.embedded()
    return writer.content("pptx", name, attachments=attachments, notes=notes)


def _slide(package: Package, name: str, writer: TextWriter, number: int) -> None:
    root = package.xml(name)
    tree = child(root, "cSld", "spTree")
    if root is None or tree is None:
        return
    hidden = ", hidden" if attribute(root, "show") in ("0", "false") else ""
    related = package.related(name)
    writer.apart()
    writer.place(f"slide {number}{hidden}")
    shapes = list(_shapes(tree))
    title = next((shape for shape in shapes if _placeholder(shape) in _TITLES), None)
    if title is not None:
        writer.heading(" ".join(_paragraphs(title)), 1)
    for shape in shapes:
        if shape is not title:
            _shape(package, related, shape, writer)
    for kind, part in related.values():
        if kind == "notesSlide":
            _notes(package.xml(part), writer)
        elif kind == "comments":
            _comments(package.xml(part), writer)


def _shapes(tree: "Element") -> "Iterator[Element]":
    """Shapes and frames in order, those in groups with them; of alternatives the first."""
    stack = list(reversed(tree))
    while stack:
        shape = stack.pop()
        if local(shape) in ("sp", "graphicFrame", "cxnSp"):
            if not _is_hidden(shape):
                yield shape
        elif local(shape) in ("grpSp", "AlternateContent", "Choice") and not _is_hidden(shape):
            stack.extend(reversed(shape))


def _is_hidden(shape: "Element") -> bool:
    for properties in shape:
        named = child(properties, "cNvPr")
        if named is not None:
            return attribute(named, "hidden") in ("1", "true")
    return False


def _placeholder(shape: "Element") -> str | None:
    holder = child(shape, "nvSpPr", "nvPr", "ph")
    return None if holder is None else attribute(holder, "type") or "obj"


def _shape(
    package: Package, related: dict[str, tuple[str, str]], shape: "Element", writer: TextWriter
) -> None:
    if _placeholder(shape) in _NO_CONTENT:
        return
    table = next(descendants(shape, "tbl"), None)
    if table is not None:
        _table(table, writer)
        return
    writer.apart()
    for text in _paragraphs(shape):
        writer.line(text)
    for found in descendants(shape, "relIds", "chart"):
        part = related.get(attribute(found, "dm") or attribute(found, "id") or "")
        root = package.xml(part[1]) if part else None
        if root is not None:
            writer.paragraph("; ".join(drawing_texts(root)))
    writer.apart()


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
            case "m" | "AlternateContent":
                formula = next(descendants(run, "oMath"), None)
                out += omml_text(formula) if formula is not None else ""
    return out


def _run(run: "Element", before: str) -> str:
    text = child(run, "t")
    said = text.text or "" if text is not None else ""
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


def _notes(root: "Element | None", writer: TextWriter) -> None:
    tree = child(root, "cSld", "spTree")
    for shape in _shapes(tree) if tree is not None else ():
        if _placeholder(shape) not in (None, *_NO_CONTENT):
            text = "\n".join(_paragraphs(shape))
            if text.strip():
                writer.paragraph(f"Notes: {text}")


def _comments(root: "Element | None", writer: TextWriter) -> None:
    for comment in descendants(root, "cm") if root is not None else ():
        text = child(comment, "text")
        said = [text.text or ""] if text is not None else list(drawing_texts(comment))
        if "".join(said).strip():
            writer.paragraph(f"Comment: {' '.join(said)}")
