"""Word documents: paragraphs, lists with their numbers, tables, text boxes, content controls, notes, comments.

What is shown counts: insertions stand, deletions do not, hidden text is told. Pages are those that Word noted when
it saved the file.
"""

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Attachment, Content
from weightwright.rag.readers.docx_inline import Line
from weightwright.rag.readers.docx_styles import Numbering, Styles, is_on
from weightwright.rag.readers.docx_tables import cells_of, table_of
from weightwright.rag.readers.package import Package, attribute, child, chosen, descendants, local
from weightwright.rag.readers.writer import TextWriter
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_NO_BLOCKS = ("del", "moveFrom", "sdtPr", "sectPr", "tcPr")


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
    attachments += tuple(document.chunks)
    return document.writer.content("docx", name, attachments=attachments, notes=(*document.notes, *notes))


class _Document:
    """Writes one document's blocks."""

    def __init__(self, package: Package, main: str) -> None:
        self.writer = TextWriter()
        self.title = ""
        self.chunks: list[Attachment] = []
        self._package = package
        self._related = package.related(main)
        self._styles = Styles(self._part("styles"))
        self._numbering = Numbering(self._part("numbering"), self._styles)
        self._line = Line(package, self._related, self._styles)
        self._has_pages = False
        self._carried = ""  # a paragraph's first letter, or what stands before a deleted end of a paragraph
        self._shifted = 0  # levels; a title stands above the headings

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        hidden = self._line.hidden
        return (f"pieces of hidden text that were left out: {hidden}",) if hidden else ()

    def write_body(self, body: "Element") -> None:
        """The document's own blocks."""
        self._has_pages = next(descendants(body, "lastRenderedPageBreak"), None) is not None
        self.write(body)

    def write(self, container: "Element") -> None:
        """Every block in a body, a cell or a text box."""
        for block in blocks(container):
            match local(block):
                case "tbl":
                    self._table(block)
                case "altChunk":
                    self._chunk(block)
                case _:
                    self._paragraph(block)
        self.writer.paragraph(self._carried)
        self._carried = ""

    def write_headers(self) -> None:
        """Headers and footers, each text once, behind the rest."""
        seen: set[str] = set()
        for kind, part in self._related.values():
            root = self._package.xml(part) if kind in ("header", "footer") else None
            for text in self._texts(root) if root is not None else ():
                if any(character.isalpha() for character in text) and text not in seen:
                    seen.add(text)
                    self.writer.paragraph(text)
        self._after_block()

    # -- blocks ----------------------------------------------------------------------------------

    def _paragraph(self, paragraph: "Element") -> None:
        properties = child(paragraph, "pPr")
        style = attribute(child(properties, "pStyle"), "val")
        text = self._text(paragraph)
        if text is None:
            return
        number = self._number(paragraph, text)
        level = self._styles.level(style, properties)
        if self._has_pages and text.strip():
            self.writer.place(f"page {self._line.began or self._line.page}")
        if self._styles.is_title(style) and text.strip() and not self.title:
            self.title, self._shifted = " ".join(text.split()), 1
            self.writer.heading(text, 1)
        elif level:
            self.writer.heading(f"{number} {text}".strip() if text.strip() else "", level + self._shifted)
        elif number:
            said = text.replace("\n", " ").strip()
            self.writer.line(said or number, f"{number} " if said else "")
        else:
            self.writer.paragraph(text)
        self._after_block()

    def _text(self, paragraph: "Element") -> str | None:
        """A paragraph's text; None where it goes on in the next one."""
        properties = child(paragraph, "pPr")
        self._line.began = None
        text = self._line.text(paragraph)
        if self._styles.is_hidden(attribute(child(properties, "pStyle"), "val")) and not _shows(paragraph):
            self._line.hidden += bool(text.strip())
            text = ""
        gap = " " if len(self._carried) > 1 and self._carried[-1:].isalpha() and text[:1].isupper() else ""
        text, self._carried = self._carried + gap + text, ""
        if attribute(child(properties, "framePr"), "dropCap") in ("drop", "margin") and text.strip():
            self._carried = text.strip()  # a paragraph's first letter stands in a frame of its own
            return None
        if child(properties, "rPr", "del") is not None or child(properties, "rPr", "moveFrom") is not None:
            self._carried = text
            return None
        return text

    def _number(self, paragraph: "Element", text: str) -> str:
        """A list item's number or dash; an empty item has a number, too."""
        properties = child(paragraph, "pPr")
        if not text.strip() and is_on(child(properties, "rPr", "vanish")):
            return ""
        number = self._numbering.next(properties, attribute(child(properties, "pStyle"), "val"))
        return "" if number == "-" and not text.strip() else number

    def _table(self, table: "Element") -> None:
        shape, _ = table_of(table, lambda _cell: "")
        if len(shape) == 1 or max(map(len, shape), default=0) <= 1:  # a frame around text
            for cell in cells_of(table):
                self.write(cell)
        else:
            rows, header = table_of(table, self._cell)
            self.writer.table(rows, header=header)
        self._after_block()

    def _cell(self, cell: "Element") -> str:
        """A cell's paragraphs, and tables in it, on one line."""
        return " ".join(self._texts(cell))

    def _texts(self, container: "Element") -> list[str]:
        """The paragraphs of a cell, a note or a header, and tables in it, a line each."""
        parts: list[str] = []
        for block in blocks(container):
            if local(block) == "p":
                text = self._text(block)
                if text is not None:
                    parts.append(f"{self._number(block, text)} {text.strip()}".strip())
            elif local(block) == "tbl":
                rows, _ = table_of(block, self._cell)
                parts.append("; ".join(", ".join(filter(None, row)) for row in rows))
            else:
                self._chunk(block)
        parts.append(self._carried)
        self._carried = ""
        return [part for part in parts if part.strip()]

    def _chunk(self, chunk: "Element") -> None:
        """A file that Word would read in at this place; it is a document of its own."""
        part = self._related.get(attribute(chunk, "id") or "")
        if part is not None:
            self.chunks.append(Attachment(posixpath.basename(part[1]), self._package.read(part[1])))

    def _after_block(self) -> None:
        """What the block's anchors stand for: text boxes, then notes and comments."""
        boxes, self._line.boxes = self._line.boxes, []
        for box in boxes:
            self.write(box)
        pending, self._line.pending = self._line.pending, []
        for mark, note in pending:
            self.writer.paragraph(f"{mark} {' '.join(self._texts(note))}")

    def _part(self, kind: str) -> "Element | None":
        part = next((target for type_, target in self._related.values() if type_ == kind), None)
        return self._package.xml(part) if part else None


def blocks(container: "Element") -> "Iterator[Element]":
    """Paragraphs, tables and chunks in a container, those in content controls and insertions with them."""
    stack = list(reversed(container))
    while stack:
        element = stack.pop()
        name = local(element)
        if name in ("p", "tbl", "altChunk"):
            yield element
        elif name == "AlternateContent":
            stack.extend(reversed(chosen(element)))
        elif name not in _NO_BLOCKS and not (
            name == "sdt" and child(element, "sdtPr", "showingPlcHdr") is not None
        ):
            stack.extend(reversed(element))


def _shows(paragraph: "Element") -> bool:
    """Whether a run of a paragraph whose style hides it is shown all the same."""
    own = (child(run, "rPr", "vanish") for run in descendants(paragraph, "r"))
    return any(element is not None and not is_on(element) for element in own)
