"""Excel workbooks: sheet by sheet, cells as they are shown, rows as places, comments and text boxes.

Hidden sheets, rows and columns are left out, and said so.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.number_formats import shown_number, shown_text
from weightwright.rag.readers.package import Package, attribute, child, drawing_texts, local
from weightwright.rag.readers.sheets import write_rows
from weightwright.rag.readers.writer import TextWriter, struck
from weightwright.rag.readers.xlsx_comments import comments, people
from weightwright.rag.readers.xlsx_texts import CellStyle, cell_styles, inside, rich, strings, unescaped
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_CELL = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_MOST_COLUMNS = 16_384


def read_xlsx(data: bytes, settings: LoadSettings) -> Content:
    """Every sheet that is shown. Raises DataError where it is no workbook."""
    package = Package(data, settings, "xlsx")
    main = package.first_related("", "officeDocument") or "xl/workbook.xml"
    if main.endswith(".bin"):
        raise DataError(None, "a binary workbook (.xlsb); save it as .xlsx")
    book = _Book(package, main, settings)
    for sheet in inside(book.root, "sheets"):
        book.write(sheet)
    core = child(package.xml("docProps/core.xml"), "title")
    name = core.text or "" if core is not None else ""
    attachments, notes = package.embedded()
    return book.writer.content("xlsx", name, attachments=attachments, notes=(*book.notes, *notes))


@dataclass
class _Sheet:
    """A sheet as it is stored: texts by row and column, and what is hidden or merged."""

    rows: dict[int, dict[int, str]] = field(default_factory=dict)
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    merged: list[str] = field(default_factory=list)
    without_value: int = 0


class _Book:
    def __init__(self, package: Package, main: str, settings: LoadSettings) -> None:
        self.root = package.main_xml(main)
        self.writer = TextWriter()
        self.notes: list[str] = []
        self._package = package
        self._related = package.related(main)
        self._settings = settings
        self._date1904 = attribute(child(self.root, "workbookPr"), "date1904") in ("1", "true")
        parts = dict(self._related.values())
        self._strings = strings(package.xml(parts.get("sharedStrings", "")))
        self._styles = cell_styles(package.xml(parts.get("styles", "")))
        self._people = people(package, self._related)
        self._characters = 0

    def write(self, sheet: "Element") -> None:
        """One sheet, under its name as a heading."""
        name = attribute(sheet, "name") or ""
        ids = [str(value) for key, value in sheet.attrib.items() if str(key).startswith("{")]
        part = self._related.get(ids[0]) if ids else None
        if attribute(sheet, "state") in ("hidden", "veryHidden"):
            self.notes.append(f'its sheet "{name}" is hidden and was left out')
            return
        if part is None:
            return
        found = self._read(self._package.read(part[1])) if part[0] == "worksheet" else _Sheet()
        for cells in found.merged:
            _fill(found, cells)
        self._note(name, found)
        self.writer.apart()
        self.writer.place(f'sheet "{name}"')
        self.writer.heading(name, 1)
        rows = [
            (number, [cells.get(column, "") for column in self._columns(found, cells)])
            for number, cells in sorted(found.rows.items())
            if number not in found.hidden_rows
        ]
        write_rows(self.writer, rows, f'sheet "{name}", row ')
        self._beside(part[1], name)

    @staticmethod
    def _columns(found: _Sheet, cells: dict[int, str]) -> Iterator[int]:
        last = max(cells, default=0)
        return (column for column in range(1, last + 1) if column not in found.hidden_columns)

    def _note(self, name: str, found: _Sheet) -> None:
        hidden = len(found.hidden_rows & found.rows.keys())
        if hidden:
            self.notes.append(f'{hidden} hidden rows of its sheet "{name}" were left out')
        used = {column for cells in found.rows.values() for column in cells}
        if found.hidden_columns & used:
            self.notes.append(
                f'{len(found.hidden_columns & used)} hidden columns of its sheet "{name}" were left out'
            )
        if found.without_value:
            self.notes.append(
                f'{found.without_value} formulas of its sheet "{name}" have no stored value and stand as formulas; '
                "open it in a spreadsheet program and save it"
            )

    def _read(self, data: bytes) -> _Sheet:
        """The rows of a sheet's XML, an element at a time."""
        from lxml import etree

        found = _Sheet()
        row = 0
        try:
            for _, element in etree.iterparse(
                io.BytesIO(data), resolve_entities=False, huge_tree=True, recover=True
            ):
                name = local(element)
                if name == "row":
                    row = _whole(attribute(element, "r"), row + 1)
                    self._row(element, row, found)
                    element.clear()
                elif name == "col" and (_is_set(element, "hidden") or _is_nothing(element, "width")):
                    first, last = _whole(attribute(element, "min"), 1), _whole(attribute(element, "max"), 1)
                    found.hidden_columns.update(range(first, min(last, _MOST_COLUMNS) + 1))
                elif name == "mergeCell":
                    found.merged.append(attribute(element, "ref") or "")
        except etree.XMLSyntaxError as error:
            raise DataError(None, f"a sheet of it is no XML ({error.msg}); save it again") from error
        return found

    def _row(self, element: "Element", row: int, found: _Sheet) -> None:
        if _is_set(element, "hidden") or _is_nothing(element, "ht"):
            found.hidden_rows.add(row)
        cells: dict[int, str] = {}
        column = 0
        for cell in element:
            place = _CELL.fullmatch((attribute(cell, "r") or "").upper())
            column = _column(place[1]) if place else column + 1
            text = self._cell(cell, found)
            if text.strip():
                cells[column] = text
                self._characters += len(text)
        if self._characters > self._settings.max_characters:
            most = self._settings.max_characters
            raise DataError(None, f"more than max_characters={most}; split it or raise --max-characters")
        if cells:
            found.rows[row] = cells

    def _cell(self, cell: "Element", found: _Sheet) -> str:
        """What a cell shows."""
        number = attribute(cell, "s") or "0"
        is_known = number.isdecimal() and int(number) < len(self._styles)
        style = self._styles[int(number)] if is_known else CellStyle()
        kind = attribute(cell, "t") or "n"
        text = self._stored(cell, kind, style, found)
        if style.is_struck and text.strip():
            return struck(text, "")
        return text

    def _stored(self, cell: "Element", kind: str, style: CellStyle, found: _Sheet) -> str:
        if kind == "inlineStr":
            inline = child(cell, "is")
            return shown_text(rich(inline), style.code) if inline is not None else ""
        value = child(cell, "v")
        text = value.text or "" if value is not None else ""
        if not text:
            formula = child(cell, "f")
            if formula is None or (value is not None and kind == "str"):  # a text that is empty
                return ""
            found.without_value += 1
            return f"={formula.text}" if formula.text else ""
        if kind == "s":
            is_known = text.isdecimal() and int(text) < len(self._strings)
            return shown_text(self._strings[int(text)], style.code) if is_known else ""
        if kind == "b":
            return "TRUE" if text == "1" else "FALSE"
        if kind == "e":
            return unescaped(text)
        if kind == "str":
            return shown_text(unescaped(text), style.code)
        if kind == "d":
            return text.removesuffix("T00:00:00").replace("T", " ")
        return shown_number(text, style.code, date1904=self._date1904)

    def _beside(self, part: str, name: str) -> None:
        """Comments and text boxes of a sheet."""
        related = self._package.related(part)
        for cell, said in comments(self._package, related, self._people):
            if said.strip():
                self.writer.apart()
                self.writer.place(f'sheet "{name}", cell {cell}')
                self.writer.paragraph(f"Comment on {cell}: {said}")
        for kind, target in related.values():
            root = self._package.xml(target) if kind == "drawing" else None
            if root is not None:
                self.writer.apart()
                self.writer.place(f'sheet "{name}"')
                for line in drawing_texts(root):
                    self.writer.paragraph(line)


def _fill(found: _Sheet, cells: str) -> None:
    """Repeat the text of a cell over several rows in each of them."""
    first, _, last = cells.partition(":")
    a, b = _CELL.fullmatch(first), _CELL.fullmatch(last)
    if a is None or b is None:
        return
    column, top, bottom = _column(a[1]), int(a[2]), int(b[2])
    text = found.rows.get(top, {}).get(column)
    if not text:
        return
    below = range(top + 1, bottom + 1)
    for row in below if len(below) < len(found.rows) else [row for row in found.rows if row in below]:
        if row in found.rows:
            found.rows[row].setdefault(column, text)


def _is_set(element: "Element", name: str) -> bool:
    return attribute(element, name) in ("1", "true")


def _is_nothing(element: "Element", name: str) -> bool:
    """Whether a width or height is there and nothing."""
    value = attribute(element, name)
    return value is not None and re.fullmatch(r"0*\.?0+", value) is not None


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return min(number, _MOST_COLUMNS)


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() else otherwise
