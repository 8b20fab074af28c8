"""Word documents: paragraphs, lists with their numbers, tables, text boxes, content controls, notes, comments.

What is shown counts: insertions stand, deletions and hidden text do not. Pages are those that Word noted when it
saved the file.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.docx_styles import Numbering, Styles, is_on
from weightwright.rag.readers.docx_tables import table_of
from weightwright.rag.readers.omml import omml_text
from weightwright.rag.readers.package import Package, attribute, child, descendants, drawing_texts, local
from weightwright.rag.readers.symbol_fonts import symbol, without_symbols
from weightwright.rag.readers.writer import TextWriter, lowered, raised
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_LEFT_OUT = frozenset(
    ("del", "moveFrom", "instrText", "delText", "delInstrText", "rPr", "pPr", "sdtPr", "Fallback")
)
_TEXT = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}


def read_docx(data: bytes, settings: LoadSettings) -> Content:
    """The document's text. Raises DataError where it is no Word document."""
    package = Package(data, settings, "docx")
    main = package.first_related("", "officeDocument") or "word/document.xml"
    body = child(package.main_xml(main), "body")
    if body is None:
        raise DataError(None, f"not a Word document: its part {main} has no body")
    document = _Document(package, main)
    document.write_body(body)
    document.write_headers()
    core = package.xml("docProps/core.xml")
    title = child(core, "title") if core is not None else None
    name = document.title or (title.text or "" if title is not None else "")
    attachments, notes = package.embedded()
    return document.writer.content("docx", name, attachments=attachments, notes=notes)


class _Document:
    """Writes one document's blocks."""

    def __init__(self, package: Package, main: str) -> None:
        self.writer = TextWriter()
        self.title = ""
        self._package = package
        self._related = package.related(main)
        self._styles = Styles(self._part("styles"))
        self._numbering = Numbering(self._part("numbering"))
        self._notes = {
            kind: {attribute(note, "id"): note for note in _children(self._part(f"{kind}s"))}
            for kind in ("footnote", "endnote", "comment")
        }
        self._noted = 0
        self._pending: list[tuple[str, Element]] = []  # notes that the block so far refers to: mark, note
        self._boxes: list[Element] = []
        self._page = 1
        self._has_pages = False
        self._began: int | None = None  # the page where the paragraph's text begins
        self._cap = ""
        self._shifted = 0  # levels; a title stands above the headings

    def write_body(self, body: "Element") -> None:
        """The document's own blocks."""
        self._has_pages = next(descendants(body, "lastRenderedPageBreak"), None) is not None
        self.write(body)

    def write(self, container: "Element") -> None:
        """Every block in a body, a cell or a text box."""
        for block in blocks(container):
            if local(block) == "tbl":
                self._table(block)
            else:
                self._paragraph(block)

    def write_headers(self) -> None:
        """Headers and footers, each text once, behind the rest."""
        seen: set[str] = set()
        for kind, part in self._related.values():
            root = self._package.xml(part) if kind in ("header", "footer") else None
            for paragraph in blocks(root) if root is not None else ():
                text = self.inline(paragraph).strip() if local(paragraph) == "p" else ""
                if any(character.isalpha() for character in text) and text not in seen:
                    seen.add(text)
                    self.writer.paragraph(text)
        self._after_block()

    def inline(self, element: "Element") -> str:
        """The text of a paragraph or a part of it; its notes and text boxes come after the block."""
        out: list[str] = []
        stack: list[Element] = list(reversed(element))
        while stack:
            part = stack.pop()
            name = local(part)
            if name in _LEFT_OUT:
                continue
            if name == "r" and self._is_hidden(part):
                continue
            text = self._leaf(part, name, "".join(out[-2:]))
            if text is None:
                stack.extend(reversed(part))
            else:
                out.append(text)
                if self._began is None and text.strip():
                    self._began = self._page
        return "".join(out)

    # -- blocks ----------------------------------------------------------------------------------

    def _paragraph(self, paragraph: "Element") -> None:
        properties = child(paragraph, "pPr")
        style = attribute(child(properties, "pStyle"), "val")
        self._began = None
        text = self._cap + self.inline(paragraph)
        drop = attribute(child(properties, "framePr"), "dropCap")
        self._cap = text.strip() if drop in ("drop", "margin") else ""
        if self._cap:  # a paragraph's first letter stands in a frame of its own
            return
        number = self._number(paragraph, text)
        level = self._styles.level(style, properties)
        if self._has_pages and text.strip():
            self.writer.place(f"page {self._began or self._page}")
        if self._styles.is_title(style) and text.strip() and not self.title:
            self.title, self._shifted = " ".join(text.split()), 1
            self.writer.heading(text, 1)
        elif level and text.strip():
            self.writer.heading(f"{number} {text}".strip(), level + self._shifted)
        elif number:
            self.writer.line(text.replace("\n", " "), f"{number} ")
        else:
            self.writer.paragraph(text)
        self._after_block()

    def _number(self, paragraph: "Element", text: str) -> str:
        """A list item's number or dash."""
        properties = child(paragraph, "pPr")
        of_style = self._styles.numbering(attribute(child(properties, "pStyle"), "val"))
        return self._numbering.next(properties, of_style) if text.strip() else ""

    def _table(self, table: "Element") -> None:
        rows, header = table_of(table, self._cell)
        if len(rows) == 1 or max(map(len, rows), default=0) <= 1:  # a frame around text
            for cell in descendants(table, "tc"):
                if next(cell.iterancestors("{*}tbl")) is table:
                    self.write(cell)
        else:
            self.writer.table(rows, header=header)
        self._after_block()

    def _cell(self, cell: "Element") -> str:
        """A cell's paragraphs, and tables in it, on one line."""
        parts: list[str] = []
        for block in blocks(cell):
            if local(block) == "p":
                text = self.inline(block)
                parts.append(f"{self._number(block, text)} {text}".strip())
            else:
                rows, _ = table_of(block, self._cell)
                parts += ["; ".join(", ".join(filter(None, row)) for row in rows)]
        return " ".join(part for part in parts if part.strip())

    def _after_block(self) -> None:
        """What the block's anchors stand for: text boxes, then notes and comments."""
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.write(box)
        pending, self._pending = self._pending, []
        for mark, note in pending:
            texts = [self.inline(block) for block in blocks(note) if local(block) == "p"]
            self.writer.paragraph(f"{mark} {' '.join(text.strip() for text in texts)}")

    # -- parts of a line ---------------------------------------------------------------------------

    def _leaf(self, part: "Element", name: str, before: str) -> str | None:
        """What a part says by itself; None where its parts say it."""
        if name == "t":
            fonts = child(part.getparent(), "rPr", "rFonts")
            return without_symbols(part.text or "", attribute(fonts, "ascii") or "")
        if name in _TEXT:
            return _TEXT[name]
        if name == "lastRenderedPageBreak":
            self._page += 1
            return ""
        if name == "sym":
            return symbol(int(attribute(part, "char") or "0", 16), attribute(part, "font") or "")
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
            said = self.inline(base) if base is not None else ""
            return f"{said}({self.inline(reading)})" if reading is not None else said
        if name == "fldChar":
            return _form_value(part)
        if name == "sdt" and child(part, "sdtPr", "showingPlcHdr") is not None:
            return ""
        return None

    def _run(self, run: "Element", before: str) -> str | None:
        """A raised or lowered run; None for others."""
        position = attribute(child(run, "rPr", "vertAlign"), "val")
        if position not in ("superscript", "subscript"):
            return None
        if any(local(part).endswith("Reference") for part in run):
            return None
        text = self.inline(run)
        return raised(text, before) if position == "superscript" else lowered(text, before)

    def _is_hidden(self, run: "Element") -> bool:
        properties = child(run, "rPr")
        return is_on(child(properties, "vanish")) or self._styles.is_hidden(
            attribute(child(properties, "rStyle"), "val")
        )

    def _note(self, kind: str, reference: "Element", before: str) -> str:
        note = self._notes[kind].get(attribute(reference, "id"))
        if note is None:
            return ""
        if kind == "comment":
            author = attribute(note, "author") or ""
            self._pending.append((f"Comment ({author}):" if author else "Comment:", note))
            return ""
        self._noted += 1
        mark = raised(str(self._noted), before)
        self._pending.append((mark, note))
        return mark

    def _drawing(self, drawing: "Element") -> str:
        """Text boxes are written after the block; diagrams and charts say their words."""
        for box in descendants(drawing, "txbxContent"):
            if not any(local(above) in ("Fallback", "txbxContent") for above in _up_to(box, drawing)):
                self._boxes.append(box)
        for found in descendants(drawing, "relIds", "chart"):
            part = self._related.get(attribute(found, "dm") or attribute(found, "id") or "")
            root = self._package.xml(part[1]) if part else None
            if root is not None:
                return " " + "; ".join(drawing_texts(root)) + " "
        return ""

    def _part(self, kind: str) -> "Element | None":
        part = next((target for type_, target in self._related.values() if type_ == kind), None)
        return self._package.xml(part) if part else None


def _children(element: "Element | None") -> "list[Element]":
    return [] if element is None else list(element)


def blocks(container: "Element") -> "Iterator[Element]":
    """Paragraphs and tables in a container, those in content controls and insertions with them."""
    stack = list(reversed(container))
    while stack:
        element = stack.pop()
        name = local(element)
        if name in ("p", "tbl"):
            yield element
        elif name not in ("del", "moveFrom", "sdtPr", "sectPr", "Fallback", "tcPr") and not (
            name == "sdt" and child(element, "sdtPr", "showingPlcHdr") is not None
        ):
            stack.extend(reversed(element))


def _up_to(element: "Element", top: "Element") -> "Iterator[Element]":
    for above in element.iterancestors():
        if above is top:
            return
        yield above


def _form_value(field: "Element") -> str:
    """What a drop-down or check box of a form shows."""
    if attribute(field, "fldCharType") != "begin":
        return ""
    choices = child(field, "ffData", "ddList")
    if choices is not None:
        entries = [attribute(entry, "val") or "" for entry in choices if local(entry) == "listEntry"]
        chosen = attribute(child(choices, "result"), "val") or "0"
        return entries[int(chosen)] if chosen.isdecimal() and int(chosen) < len(entries) else ""
    box = child(field, "ffData", "checkBox")
    if box is None:
        return ""
    return "☒" if is_on(child(box, "checked")) else "☐"
