"""OpenDocument: texts, spreadsheets and presentations of LibreOffice."""

from typing import TYPE_CHECKING, Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.odf_lists import Lists
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
    "change-end", "bookmark", "dde-connection-decls", "automatic-styles",
))  # fmt: skip
_MOST_REPEATED = 1000


def read_odf(data: bytes, settings: LoadSettings) -> Content:
    """The text of content.xml. Raises DataError where it is locked or no OpenDocument file."""
    package = Package(data, settings, "odt")
    root = package.main_xml("content.xml")
    body = next(descendants(root, "body"), None)
    if body is None:
        raise DataError(
            None, "an OpenDocument file without a body, or encrypted; save it without its password"
        )
    styles = [part for part in (package.xml("styles.xml"), root) if part is not None]
    walk = _Walk(root, Lists(*styles), _text_styles(styles))
    for part in body:
        walk.write(part)
    title = next(descendants(package.main_xml("meta.xml"), "title"), None) if "meta.xml" in package else None
    return walk.writer.content("odf", title.text or "" if title is not None else "", notes=tuple(walk.notes))


class _Walk:
    def __init__(self, root: "Element", lists: Lists, styles: dict[str, str]) -> None:
        self._lists = lists
        self._styles = styles
        self.writer = TextWriter()
        self.notes: list[str] = []
        self._hidden_tables = {
            attribute(style, "name")
            for style in descendants(root, "style")
            if attribute(child(style, "table-properties"), "display") == "false"
        }
        self._later: list[str] = []
        self._slide = 0
        self._notes = 0

    def write(self, container: "Element") -> None:
        """The blocks of an element, in order."""
        stack = list(reversed(container))
        while stack:
            element = stack.pop()
            name = local(element)
            if name == "h":
                level = attribute(element, "outline-level") or "1"
                self.writer.heading(self._inline(element), int(level) if level.isdecimal() else 1)
            elif name == "p":
                self.writer.paragraph(self._inline(element))
            elif name == "table":
                self._table(element)
            elif name == "list":
                self._list(element)
            elif name not in _LEFT_OUT:
                self._begin(element, name)
                stack.extend(reversed(element))
            self._after()

    def _begin(self, element: "Element", name: str) -> None:
        if name == "page":
            self._slide += 1
            self.writer.apart()
            self.writer.place(f"slide {self._slide}")
        elif name == "notes":
            self.writer.apart()

    def _list(self, element: "Element") -> None:
        self._lists.enter(element)
        for item in element:
            mark = self._lists.mark(item)
            for part in item:
                if local(part) in ("p", "h"):
                    self.writer.line(self._inline(part), mark)
                    mark = ""
                elif local(part) == "list":
                    if mark.strip("- "):  # an item that has a number and nothing else
                        self.writer.line(mark)
                    mark = ""
                    self._list(part)
            self.writer.close()
        self._lists.leave(element)

    def _after(self) -> None:
        later, self._later = self._later, []
        for text in later:
            self.writer.paragraph(text)

    def _inline(self, element: "Element") -> str:
        """A paragraph's text; notes, comments and frames come after it."""
        out = element.text or ""
        for part in element:
            match local(part):
                case "s":
                    count = attribute(part, "c") or "1"
                    out += " " * (min(int(count), _MOST_REPEATED) if count.isdecimal() else 1)
                case "tab":
                    out += "\t"
                case "line-break":
                    out += "\n"
                case "note":
                    self._notes += 1
                    mark = raised(str(self._notes), out)
                    body = child(part, "note-body")
                    said = [self._inline(p) for p in descendants(body, "p")] if body is not None else []
                    self._later.append(f"{mark} {' '.join(said)}")
                    out += mark
                case "annotation":
                    said = [self._inline(p) for p in descendants(part, "p")]
                    self._later.append(f"Comment: {' '.join(said)}")
                case "frame" | "custom-shape" | "text-box":
                    self._later += [self._inline(p) for p in descendants(part, "p")]
                case "hidden-text" | "hidden-paragraph":
                    pass
                case "ruby":
                    base, reading = child(part, "ruby-base"), child(part, "ruby-text")
                    out += self._inline(base) if base is not None else ""
                    out += f"({self._inline(reading)})" if reading is not None else ""
                case name if name not in _LEFT_OUT:
                    out += self._styled(part, out)
            out += part.tail or ""
        return " ".join(out.split(" "))

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

    def _table(self, table: "Element") -> None:
        name = attribute(table, "name") or ""
        is_sheet = local(table.getparent()) == "spreadsheet"
        if is_sheet and attribute(table, "style-name") in self._hidden_tables:
            self.notes.append(f'its sheet "{name}" is hidden and was left out')
            return
        rows = self._rows(table)
        if not is_sheet:
            header = next(
                (local(part) == "table-header-rows" for part in table if "row" in local(part)), False
            )
            self.writer.table([cells for _, cells in rows], header=header)
            return
        self.writer.apart()
        self.writer.place(f'sheet "{name}"')
        self.writer.heading(name, 1)
        write_rows(self.writer, rows, f'sheet "{name}", row ')

    def _rows(self, table: "Element") -> list[tuple[int, list[str]]]:
        rows: list[tuple[int, list[str]]] = []
        number = 0
        for row in descendants(table, "table-row"):
            if next(row.iterancestors("{*}table")) is not table:
                continue
            cells = self._cells(row)
            times = _repeated(row, "number-rows-repeated")
            hidden = attribute(row, "visibility") in ("collapse", "filter")
            for n in range(min(times, _MOST_REPEATED) if any(cells) else 0):
                if not hidden:
                    rows.append((number + n + 1, cells))
            number += times
        return rows

    def _cells(self, row: "Element") -> list[str]:
        cells: list[str] = []
        for cell in row:
            if local(cell) not in ("table-cell", "covered-table-cell"):
                continue
            covered = local(cell) == "covered-table-cell"  # its own text is not shown
            text = "" if covered else self._cell(cell)
            times = _repeated(cell, "number-columns-repeated")
            cells += [text] * (min(times, _MOST_REPEATED) if text.strip() else min(times, 100))
        while cells and not cells[-1].strip():
            cells.pop()
        return cells

    def _cell(self, cell: "Element") -> str:
        """A cell's paragraphs, lists and tables in it, on one line."""
        parts: list[str] = []
        for block in cell:
            match local(block):
                case "p" | "h":
                    parts.append(self._inline(block))
                case "list":
                    self._lists.enter(block)
                    parts += [f"{self._lists.mark(item)}{self._cell(item)}" for item in block]
                    self._lists.leave(block)
                case "table":
                    parts.append("; ".join(", ".join(filter(None, row)) for _, row in self._rows(block)))
                case "section" | "soft-page-break":
                    parts.append(self._cell(block))
        return " ".join(part for part in parts if part.strip())


def _text_styles(roots: "list[Element]") -> dict[str, str]:
    """What styles of characters do to a text: style → `super`, `sub` or `hidden`."""
    found: dict[str, str] = {}
    for root in roots:
        for style in descendants(root, "style"):
            properties = child(style, "text-properties")
            if attribute(style, "family") != "text" or properties is None:
                continue
            position = (attribute(properties, "text-position") or "").split(" ")[0]
            name = attribute(style, "name") or ""
            if attribute(properties, "display") == "none":
                found[name] = "hidden"
            elif position == "super" or (
                position.endswith("%") and position.strip("-0%") and position[0] != "-"
            ):
                found[name] = "super"
            elif position == "sub" or position.startswith("-"):
                found[name] = "sub"
    return found


def _repeated(element: "Element", name: str) -> int:
    value = attribute(element, name) or "1"
    return int(value) if value.isdecimal() else 1
