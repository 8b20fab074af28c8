"""A story of an RTF file (its body, a note, a text box): the line so far, and the rows of its table."""

from dataclasses import dataclass, field
from itertools import groupby

from weightwright.rag.readers.writer import TextWriter, lowered, one_line, raised

_BULLETS = "•·▪◦○●■□➢–-o§"


@dataclass(slots=True)
class Story:
    """What is not written yet."""

    writer: TextWriter
    alone: bool = False  # its paragraphs are kept in it, not written
    style: int = 0
    outline: int | None = None  # level that the paragraph names itself, from 0
    level: int = 0  # of a heading
    mark: str = ""  # a list item's
    note_mark: str = ""
    in_table: bool = False
    line: list[tuple[str, int]] = field(default_factory=list)
    later: list[str] = field(default_factory=list)  # notes and boxes behind the paragraph
    parts: list[str] = field(default_factory=list)  # paragraphs of a cell, or of a story that is no body
    nested: list[str] = field(default_factory=list)  # cells of a row in a cell
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)  # of the row: how each cell goes on from others
    pending: str = ""
    has_header: bool = False

    def say(self, text: str, position: int) -> None:
        """Text of the line; `position` 1 is raised, -1 lowered."""
        self.line.append((text, position))

    def note(self, number: int) -> str:
        """A mark of a note in the line."""
        mark = raised(str(number), "".join(text for text, _ in self.line[-3:]))
        self.say(mark, 0)
        return mark.strip()

    def taken(self) -> str:
        """The line, with the mark of its item."""
        out: list[str] = []
        for position, pieces in groupby(self.line, lambda piece: piece[1]):
            text, before = "".join(piece[0] for piece in pieces), "".join(out[-1:])
            out.append(
                text if not position else raised(text, before) if position > 0 else lowered(text, before)
            )
        self.line.clear()
        return "".join(out)

    def text(self) -> str:
        """Everything that is not written, on one line."""
        write_paragraph(self)
        rows = ["; ".join(", ".join(filter(None, row)) for row in self.rows)]
        parts = [*self.parts, *rows, *self.later]
        return " ".join(filter(None, (one_line(part) for part in parts)))

    def table_word(self, word: str, number: int | None = None) -> None:
        """A control word of tables."""
        match word:
            case "trowd":
                self.merged, self.pending = [], ""
            case "intbl" | "itap":
                self.in_table = number != 0
            case "trhdr":
                self.has_header = self.has_header or not self.rows
            case "clvmrg" | "clmrg":
                self.pending = word
            case "cellx":
                self.merged.append(self.pending)
                self.pending = ""
            case "nestcell":
                self.nested.append(self._cell())
            case "nestrow":
                self.parts.append(", ".join(filter(None, self.nested)) + ";")
                self.nested.clear()
            case "cell":
                self.cells.append(self._cell().rstrip(";"))
            case "row":
                self.rows.append([self._merged(at, cell) for at, cell in enumerate(self.cells)])
                self.cells.clear()
                self.in_table = False

    def close(self) -> None:
        """Write the table so far, if there is one."""
        if self.cells:
            self.table_word("row")
        parts, self.parts = self.parts, []  # of a cell that did not end
        if self.rows:
            self.writer.table(self.rows, header=self.has_header)
            self.rows, self.has_header = [], False
        for part in parts:
            self.writer.paragraph(part)

    def _cell(self) -> str:
        said = self.item(self.taken())
        out = " ".join(filter(None, (*(one_line(part) for part in self.parts), one_line(said))))
        self.parts.clear()
        return out

    def item(self, text: str) -> str:
        """Text behind the mark of its item."""
        mark, self.mark = self.mark, ""
        return f"{_shown(mark)} {text}".strip() if mark else text

    def _merged(self, at: int, cell: str) -> str:
        how = self.merged[at] if at < len(self.merged) else ""
        if how == "clvmrg" and self.rows and at < len(self.rows[-1]):
            return cell or self.rows[-1][at]
        return cell


def write_paragraph(story: Story) -> None:
    """The paragraph ends; in a cell, and in a story that stands alone, it is kept."""
    if story.alone or story.in_table or story.cells:
        text = story.item(story.taken())
        story.parts += [text] if text.strip() else []
        return
    text = story.taken()
    mark, story.mark = _shown(story.mark), ""
    story.close()
    writer = story.writer
    if story.level and text.strip():
        writer.heading(f"{mark} {text}".strip(), story.level)
    elif mark and text.strip():
        writer.line(text.replace("\n", " "), f"{mark} ")
    elif mark:
        writer.line(mark)
    else:
        writer.paragraph(text)
    for said in story.later:
        writer.paragraph(said)
    story.later.clear()


def _shown(mark: str) -> str:
    return "-" if mark and all(character in _BULLETS or character > "\ue000" for character in mark) else mark
