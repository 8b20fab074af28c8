"""OpenDocument: texts, spreadsheets and presentations of LibreOffice.

What is hidden is left out and told; what stands on every slide (footers, texts of the master) is written once.
"""

from typing import TYPE_CHECKING, Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.odf_lists import Lists
from weightwright.rag.readers.odf_objects import object_text
from weightwright.rag.readers.odf_sheets import Grid, grid_of, has_header, hidden_tables
from weightwright.rag.readers.odf_styles import hidden_pages, text_styles
from weightwright.rag.readers.package import Package, attribute, child, descendants, local
from weightwright.rag.readers.sheets import write_rows
from weightwright.rag.readers.writer import TextWriter, lowered, raised
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_LEFT_OUT = frozenset((
    "tracked-changes", "deletion", "forms", "sequence-decls", "annotation-end", "change", "change-start",
    "change-end", "bookmark", "dde-connection-decls", "automatic-styles", "footer-decl", "header-decl",
    "date-time-decl",
))  # fmt: skip
_MOST_SPACES = 1000
_BOXES = ("frame", "custom-shape", "text-box", "g", "rect", "ellipse", "line", "connector")
_FIELDS_OF_PAGES = ("page-number", "date", "time", "date-time", "footer", "header")


def read_odf(data: bytes, settings: LoadSettings) -> Content:
    """The text of content.xml. Raises DataError where it is locked or no OpenDocument file."""
    package = Package(data, settings, "odt")
    root = package.main_xml("content.xml")
    body = next(descendants(root, "body"), None)
    if body is None:
        raise DataError(
            None, "an OpenDocument file without a body, or encrypted; save it without its password"
        )
    walk = _Walk(package, root)
    for part in body:
        walk.write(part)
    title = next(descendants(package.main_xml("meta.xml"), "title"), None) if "meta.xml" in package else None
    notes = list(walk.notes)
    if walk.hidden:
        notes.append(f"hidden sections or paragraphs that were left out: {walk.hidden}")
    return walk.writer.content("odf", title.text or "" if title is not None else "", notes=tuple(notes))


class _Walk:
    def __init__(self, package: Package, root: "Element") -> None:
        styles = [part for part in (package.xml("styles.xml"), root) if part is not None]
        self._package = package
        self._lists = Lists(*styles)
        self._styles = text_styles(styles)
        self._hidden_pages = hidden_pages(styles)
        self._masters = {
            attribute(page, "name"): page for s in styles for page in descendants(s, "master-page")
        }
        self._declared = {
            attribute(part, "name"): part.text or ""
            for part in descendants(root, "footer-decl", "header-decl")
        }
        self._hidden_tables = hidden_tables(root)
        self.writer = TextWriter()
        self.notes: list[str] = []
        self.hidden = 0
        self._later: list[str | Element] = []
        self._repeated: set[str] = set()  # texts that stand on many slides and are written
        self._slide = 0
        self._noted = 0

    def write(self, container: "Element") -> None:
        """The blocks of an element, in order."""
        stack = list(reversed(container))
        while stack:
            element = stack.pop()
            name = local(element)
            if name in _LEFT_OUT:
                continue
            if name == "section" and attribute(element, "display") == "none":
                self.hidden += 1
            elif not self._block(element, name):
                stack.extend(reversed(element))
            self._after()

    def _block(self, element: "Element", name: str) -> bool:
        """Write a block; False where its parts are blocks."""
        match name:
            case "h":
                self._heading(element, "")
            case "p":
                self.writer.paragraph(self._paragraph(element))
            case "table":
                self._table(element)
            case "list":
                self._list(element)
            case "numbered-paragraph":
                number = child(element, "number")
                for part in element:
                    if local(part) in ("p", "h"):
                        mark = f"{number.text} " if number is not None and number.text else ""
                        self.writer.line(self._paragraph(part), mark)
            case "object":
                self.writer.paragraph(object_text(self._package, element))
            case "page":
                self._page(element)
            case "frame" if attribute(element, "class") == "title":
                self.writer.heading(self._joined(element), 1)
            case "notes":
                said = self._joined(element)
                self.writer.paragraph(f"Notes: {said}" if said else "")
            case _:
                return False
        return True

    def _heading(self, element: "Element", mark: str) -> None:
        level = attribute(element, "outline-level") or "1"
        depth = int(level) if level.isdecimal() else 1
        number = mark if mark.strip("- ") else self._lists.heading(element, depth)
        text = self._paragraph(element)
        self.writer.heading(f"{number}{text}" if text.strip() else "", depth)

    def _page(self, page: "Element") -> None:
        """One slide; its place says that it is hidden."""
        self._slide += 1
        hidden = ", hidden" if attribute(page, "style-name") in self._hidden_pages else ""
        self.writer.apart()
        self.writer.place(f"slide {self._slide}{hidden}")
        parts = list(page)
        titles = [part for part in parts if attribute(part, "class") == "title"]
        notes = [part for part in parts if local(part) == "notes"]
        for part in [*titles, *(part for part in parts if part not in titles and part not in notes)]:
            if local(part) in _LEFT_OUT:
                continue
            if not self._block(part, local(part)):
                self.write(part)
            self._after()
        said = [self._declared.get(attribute(page, f"use-{kind}-name"), "") for kind in ("header", "footer")]
        master = self._masters.get(attribute(page, "master-page-name"))
        for frame in master if master is not None else ():
            if attribute(frame, "class") is None and local(frame) in _BOXES:
                of_page = next(descendants(frame, *_FIELDS_OF_PAGES), None)
                said.append("" if of_page is not None else self._joined(frame))
        for text in said:
            if text.strip() and text not in self._repeated:
                self._repeated.add(text)
                self.writer.paragraph(text)
        for part in notes:
            self._block(part, "notes")

    def _joined(self, element: "Element") -> str:
        """The paragraphs of an element on one line."""
        return " ".join(filter(None, (self._inline(part).strip() for part in descendants(element, "p", "h"))))

    def _list(self, element: "Element") -> None:
        self._lists.enter(element)
        for item in element:
            mark = self._lists.mark(item)
            number = child(item, "number")
            if number is not None and number.text and mark:
                mark = f"{number.text} "
            for part in item:
                if local(part) == "h":
                    self._heading(part, mark)
                    mark = ""
                elif local(part) == "p":
                    self.writer.line(self._paragraph(part), mark)
                    mark = ""
                elif local(part) == "list":
                    if mark.strip("- "):  # an item that has a number and nothing else
                        self.writer.line(mark)
                    mark = ""
                    self._list(part)
            self.writer.close()
        self._lists.leave(element)

    def _after(self) -> None:
        """Notes, comments and boxes behind the paragraph that they belong to."""
        later, self._later = self._later, []
        for said in later:
            if isinstance(said, str):
                self.writer.paragraph(said)
            else:
                self.write(said)

    def _paragraph(self, element: "Element") -> str:
        """A paragraph's text; none where a field hides it."""
        fields = descendants(element, "hidden-paragraph")
        if any(attribute(part, "is-hidden") == "true" for part in fields):
            self.hidden += 1
            return ""
        return self._inline(element)

    def _inline(self, element: "Element") -> str:
        """A paragraph's text; notes, comments and frames come after it."""
        out = element.text or ""
        for part in element:
            match local(part):
                case "s":
                    count = attribute(part, "c") or "1"
                    out += " " * (min(int(count), _MOST_SPACES) if count.isdecimal() else 1)
                case "tab":
                    out += "\t"
                case "line-break":
                    out += "\n"
                case "note":
                    out += self._note(part, out)
                case "annotation":
                    self._later.append(self._comment(part))
                case name if name in _BOXES:
                    formulas = list(descendants(part, "object"))
                    said = object_text(self._package, formulas[0]) if formulas else ""
                    out += f" {said} " if said else ""
                    if not said:
                        self._later.append(part)
                case "hidden-text":
                    out += "" if attribute(part, "is-hidden") == "true" else part.text or ""
                case "ruby":
                    base, reading = child(part, "ruby-base"), child(part, "ruby-text")
                    out += self._inline(base) if base is not None else ""
                    out += f"({self._inline(reading)})" if reading is not None else ""
                case name if name not in _LEFT_OUT:
                    out += self._styled(part, out)
            out += part.tail or ""
        return " ".join(out.split(" "))

    def _note(self, note: "Element", before: str) -> str:
        self._noted += 1
        mark = raised(str(self._noted), before)
        body = child(note, "note-body")
        self._later.append(f"{mark} {self._joined(body) if body is not None else ''}")
        return mark

    def _comment(self, annotation: "Element") -> str:
        author = child(annotation, "creator")
        name = f" ({author.text})" if author is not None and author.text else ""
        return f"Comment{name}: {self._joined(annotation)}"

    def _styled(self, part: "Element", before: str) -> str:
        """A part of a line as its style shows it: raised, lowered, or not at all."""
        match self._styles.get(attribute(part, "style-name") or ""):
            case "hidden":
                return ""
            case "super":
                return raised(self._inline(part), before)
            case "sub":
                return lowered(self._inline(part), before)
        return self._inline(part)

    # -- tables ------------------------------------------------------------------------------------

    def _table(self, table: "Element") -> None:
        name = attribute(table, "name") or ""
        if local(table.getparent()) != "spreadsheet":
            rows = grid_of(table, self._cell, self._joined).rows
            self.writer.table([cells for _, cells in rows], header=has_header(table))
            return
        if attribute(table, "style-name") in self._hidden_tables:
            self.notes.append(f'its sheet "{name}" is hidden and was left out')
            return
        grid = grid_of(table, self._cell, self._joined)
        self.writer.apart()
        self.writer.place(f'sheet "{name}"')
        self.writer.heading(name, 1)
        write_rows(self.writer, grid.rows, f'sheet "{name}", row ')
        self._beside(name, grid)

    def _beside(self, name: str, grid: Grid) -> None:
        """What a sheet holds beside its cells, and what of it was left out."""
        for cell, said in grid.comments:
            if said:
                self.writer.apart()
                self.writer.place(f'sheet "{name}", cell {cell}')
                self.writer.paragraph(f"Comment on {cell}: {said}")
        if grid.drawings:
            self.writer.apart()
            self.writer.place(f'sheet "{name}"')
        for drawing in grid.drawings:
            self.write(drawing)
        for kind, count in (("rows", grid.hidden_rows), ("columns", grid.hidden_columns)):
            if count:
                self.notes.append(f'{count} hidden {kind} of its sheet "{name}" were left out')

    def _cell(self, cell: "Element") -> str:
        """A cell's paragraphs, lists and tables in it, on one line."""
        parts: list[str] = []
        for block in cell:
            match local(block):
                case "p" | "h":
                    parts.append(self._paragraph(block))
                case "list":
                    self._lists.enter(block)
                    parts += [f"{self._lists.mark(item)}{self._cell(item)}" for item in block]
                    self._lists.leave(block)
                case "table":
                    rows = grid_of(block, self._cell, self._joined).rows
                    parts.append("; ".join(", ".join(filter(None, row)) for _, row in rows))
                case "section" | "soft-page-break":
                    parts.append(self._cell(block))
        return " ".join(part for part in parts if part.strip())
