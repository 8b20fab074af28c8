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
from weightwright.rag.readers.number_formats import BUILT_IN, shown_number
from weightwright.rag.readers.package import Package, attribute, child, descendants, drawing_texts, local
from weightwright.rag.readers.sheets import write_rows
from weightwright.rag.readers.writer import TextWriter
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_CELL = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_MOST_COLUMNS = 16_384
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def read_xlsx(data: bytes, settings: LoadSettings) -> Content:
    """Every sheet that is shown. Raises DataError where it is no workbook."""
    package = Package(data, settings, "xlsx")
    main = package.first_related("", "officeDocument") or "xl/workbook.xml"
    if main.endswith(".bin"):
        raise DataError(None, "a binary workbook (.xlsb); save it as .xlsx")
    book = _Book(package, main, settings)
    for sheet in _inside(book.root, "sheets"):
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
        self._strings = _strings(package.xml(parts.get("sharedStrings", "")))
        self._formats = _formats(package.xml(parts.get("styles", "")))
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
                elif name == "col" and attribute(element, "hidden") in ("1", "true"):
                    first, last = _whole(attribute(element, "min"), 1), _whole(attribute(element, "max"), 1)
                    found.hidden_columns.update(range(first, min(last, _MOST_COLUMNS) + 1))
                elif name == "mergeCell":
                    found.merged.append(attribute(element, "ref") or "")
        except etree.XMLSyntaxError as error:
            raise DataError(None, f"a sheet of it is no XML ({error.msg}); save it again") from error
        return found

    def _row(self, element: "Element", row: int, found: _Sheet) -> None:
        if attribute(element, "hidden") in ("1", "true"):
            found.hidden_rows.add(row)
        cells: dict[int, str] = {}
        column = 0
        for cell in element:
            place = _CELL.fullmatch(attribute(cell, "r") or "")
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
        kind = attribute(cell, "t") or "n"
        if kind == "inlineStr":
            inline = child(cell, "is")
            return _rich(inline) if inline is not None else ""
        value = child(cell, "v")
        text = value.text or "" if value is not None else ""
        if not text:
            formula = child(cell, "f")
            if value is None and formula is not None and formula.text:
                found.without_value += 1
                return f"={formula.text}"
            return ""
        if kind == "s":
            return self._strings[int(text)] if text.isdecimal() and int(text) < len(self._strings) else ""
        if kind == "b":
            return "TRUE" if text == "1" else "FALSE"
        if kind in ("str", "e"):
            return _unescaped(text)
        if kind == "d":
            return text.removesuffix("T00:00:00").replace("T", " ")
        style = attribute(cell, "s") or "0"
        code = (
            self._formats[int(style)] if style.isdecimal() and int(style) < len(self._formats) else "General"
        )
        return shown_number(text, code, date1904=self._date1904)

    def _beside(self, part: str, name: str) -> None:
        """Comments and text boxes of a sheet."""
        for kind, target in self._package.related(part).values():
            root = self._package.xml(target) if kind in ("comments", "drawing") else None
            if root is None:
                continue
            for comment in descendants(root, "comment"):
                text = child(comment, "text")
                said = _rich(text) if text is not None else ""
                if said.strip():
                    cell = attribute(comment, "ref")
                    self.writer.apart()
                    self.writer.place(f'sheet "{name}", cell {cell}')
                    self.writer.paragraph(f"Comment on {cell}: {said}")
            if kind == "drawing":
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
    for row in [row for row in found.rows if top < row <= bottom] if text else ():
        found.rows[row].setdefault(column, str(text))


def _inside(root: "Element | None", name: str) -> "list[Element]":
    found = child(root, name)
    return [] if found is None else list(found)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return min(number, _MOST_COLUMNS)


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() else otherwise


def _strings(root: "Element | None") -> list[str]:
    return [_rich(item) for item in (root if root is not None else ()) if local(item) == "si"]


def _rich(element: "Element") -> str:
    """A text of several runs, without the readings of Japanese and Chinese."""
    parts = []
    for text in descendants(element, "t"):
        above = text.getparent()
        if above is None or local(above) != "rPh":
            parts.append(text.text or "")
    return _unescaped("".join(parts))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text).replace("\x00", "")


def _formats(root: "Element | None") -> list[str]:
    """The number format of each cell style."""
    own = {
        attribute(form, "numFmtId"): attribute(form, "formatCode") or "" for form in _inside(root, "numFmts")
    }
    codes = []
    for style in _inside(root, "cellXfs"):
        number = attribute(style, "numFmtId") or "0"
        codes.append(own.get(number) or BUILT_IN.get(int(number) if number.isdecimal() else 0, "General"))
    return codes
