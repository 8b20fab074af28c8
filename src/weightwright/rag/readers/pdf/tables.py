"""Tables among the lines of a page, as Markdown: where rules part cells, or where words stand in columns."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from weightwright.rag.readers.pdf.lines import Line
from weightwright.rag.readers.pdf.rules import Grid

_MOST_CHARACTERS = 400  # a cell with more is no cell of a table but a box of running text
_CELL_GAP = 1.2  # of the size: words that stand further apart are in two cells
_SHORT_CELL = 25  # characters: the mean of a table without rules; columns of running text have more
_LONG_CELL = 60  # characters: words of more than one column, or running text
_WORD_GAP = 0.15  # of the size: what is drawn elsewhere and stands further apart is another word
_LEAST_ROWS = 3
_OVER = 1.5  # points: a number that stands so far over its cell's edge is in it
_ROW_DISTANCE = 3.0  # of the size


@dataclass(slots=True)
class _Word:
    """A word or some that follow each other in one cell."""

    text: str
    u0: float
    u1: float
    v: float
    size: float


def with_tables(lines: Sequence[Line], grids: Sequence[Grid]) -> list[Line]:
    """The lines, with each table as one line of Markdown where its first words stood."""
    rest = list(lines)
    for grid in sorted(grids, key=lambda grid: (grid.x[-1] - grid.x[0]) * (grid.y[0] - grid.y[-1])):
        rest = _with_ruled(rest, grid)
    return _with_aligned(rest)


# --- rules ------------------------------------------------------------------------------------------


def _with_ruled(lines: list[Line], grid: Grid) -> list[Line]:
    cells: dict[int, list[_Word]] = {}
    rest: list[Line] = []
    first: int | None = None
    for line in lines:
        outside = _taken(line, grid, cells)
        if outside is not line:
            first = len(rest) if first is None else first
        if outside is not None:
            rest.append(outside)
    rows = [[_cell_text(cells, grid, r, c) for c in range(len(grid.x) - 1)] for r in range(len(grid.y) - 1)]
    rows = _without_empty(rows)
    if first is None or not _is_table(rows):
        return lines
    rest.insert(first, _table_line(rows, grid.x[0], grid.x[-1], grid.y[0]))
    return rest


def _taken(line: Line, grid: Grid, cells: dict[int, list[_Word]]) -> Line | None:
    """What of a line lies outside the grid; its words inside are put into their cells."""
    if line.angle != 0 or line.table or not grid.y[-1] < line.v + 0.3 * line.size < grid.y[0]:
        return line
    kept: list[int] = []
    row = len(grid.y) - 1 - bisect_right(grid.y[::-1], line.v + 0.3 * line.size)
    parts: list[_Word] = []
    for begin, end in _words(line):
        text = "".join(line.text[begin:end])
        word = _Word(text, line.left[begin], max(line.right[begin:end]), line.v, line.size)
        if not grid.x[0] < (word.u0 + word.u1) / 2 < grid.x[-1]:
            kept += range(begin, end)
        elif parts and _goes_on(grid, row, parts[-1], word):
            parts[-1].text += text
            parts[-1].u1 = word.u1
        else:
            parts.append(word)
    for part in parts:
        cells.setdefault(_place(grid, row, part), []).append(part)
    if len(kept) == len(line.text):
        return line
    return _part(line, kept) if kept else None


def _goes_on(grid: Grid, row: int, before: _Word, word: _Word) -> bool:
    """Whether a word follows closely in the same cell, or in a cell that the words before already spread over."""
    if word.u0 - before.u1 >= _CELL_GAP * word.size:
        return False
    middle = bisect_right(grid.x, (word.u0 + word.u1) / 2) - 1
    return _place(grid, row, before) in (_place(grid, row, word), grid.cell_of[row][middle])


def _place(grid: Grid, row: int, words: _Word) -> int:
    """The cell of words, by its first place; words within one column keep it, whatever their cell spans."""
    last = len(grid.x) - 2
    first_column, last_column = (
        min(last, max(0, bisect_right(grid.x, u) - 1)) for u in (words.u0 + _OVER, words.u1 - _OVER)
    )
    middle = min(last, bisect_right(grid.x, (words.u0 + words.u1) / 2) - 1)
    cell = grid.cell_of[row][middle]
    width = last + 1
    return cell if first_column != last_column or cell % width == middle else row * width + middle


def _words(line: Line) -> Iterator[tuple[int, int]]:
    """Ranges of a line's glyphs that make a word."""
    begin = 0
    for i in range(1, len(line.text) + 1):
        if i == len(line.text) or line.text[i].startswith(" "):
            yield begin, i
            begin = i


def _part(line: Line, glyphs: Sequence[int]) -> Line:
    return Line(
        [line.text[i] for i in glyphs],
        [line.left[i] for i in glyphs],
        [line.right[i] for i in glyphs],
        line.v,
        line.size,
        line.angle,
    )


def _cell_text(cells: dict[int, list[_Word]], grid: Grid, row: int, column: int) -> str:
    """The text at a place of the grid; a cell that spans several has its text in the first."""
    text = ""
    before: _Word | None = None
    for word in cells.get(row * (len(grid.x) - 1) + column, ()):
        apart = before is not None and (
            abs(word.v - before.v) > 0.5 * word.size
            or not -word.size <= word.u0 - before.u1 <= _WORD_GAP * word.size
        )
        text += f" {word.text}" if apart else word.text
        before = word
    return " ".join(text.split())


def _is_table(rows: list[list[str]]) -> bool:
    filled = [cell for row in rows for cell in row if cell]
    return (
        len(rows) >= 2
        and len(rows[0]) >= 2
        and len(filled) >= 4
        and max(map(len, filled)) <= _MOST_CHARACTERS
        and sum(sum(map(bool, row)) >= 2 for row in rows) >= 2
    )


def _without_empty(rows: list[list[str]]) -> list[list[str]]:
    rows = [row for row in rows if any(row)]
    columns = [c for c in range(len(rows[0]) if rows else 0) if any(row[c] for row in rows)]
    return [[row[c] for c in columns] for row in rows]


def _table_line(rows: Sequence[Sequence[str]], u0: float, u1: float, v: float) -> Line:
    def shown(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"

    marks = "|" + " --- |" * len(rows[0])
    text = "\n".join([shown(rows[0]), marks, *map(shown, rows[1:])])
    return Line([text], [u0], [u1], v, 1.0, 0, table=True)


# --- columns without rules --------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """Lines that follow each other, with their cells, and the columns in which all of these stand."""

    lines: list[Line]
    rows: list[list[_Word]]
    columns: list[tuple[float, float]]

    def takes(self, line: Line, cells: list[_Word]) -> bool:
        """Whether the line stands right below and each of its cells in a column of its own, also a new one."""
        above = self.lines[-1]
        drop = above.v - line.v
        if above.angle != line.angle or not 0 < drop < _ROW_DISTANCE * max(above.size, line.size):
            return False
        if (len(cells) == 1 and len(cells[0].text) > _SHORT_CELL) or max(
            len(cell.text) for cell in cells
        ) > _LONG_CELL:
            return False
        columns = list(self.columns)
        used: set[int] = set()
        for cell in cells:
            met = [i for i, (u0, u1) in enumerate(columns) if cell.u0 < u1 and cell.u1 > u0]
            if len(met) > 1 or used & set(met):
                return False
            if not met:
                columns.append((cell.u0, cell.u1))
            for i in met:
                columns[i] = (min(columns[i][0], cell.u0), max(columns[i][1], cell.u1))
            used |= set(met) or {len(columns) - 1}
        ordered = sorted(columns)
        if any(left[1] > right[0] for left, right in pairwise(ordered)):
            return False
        self.lines.append(line)
        self.rows.append(cells)
        self.columns = ordered
        return True


def _with_aligned(lines: list[Line]) -> list[Line]:
    """Runs of lines whose cells stand under each other as one table."""
    out: list[Line] = []
    run: _Run | None = None
    for line in lines:
        cells = [] if line.table or not line.text else _cells_of(line)
        if run is not None and cells and run.takes(line, cells):
            continue
        out += _closed(run) if run is not None else []
        run = _Run([line], [cells], [(cell.u0, cell.u1) for cell in cells]) if len(cells) >= 2 else None
        if run is None:
            out.append(line)
    return out + (_closed(run) if run is not None else [])


def _cells_of(line: Line) -> list[_Word]:
    """The line's words, those of one cell together."""
    least = _CELL_GAP * line.size
    wide = [
        i for i, (u1, u0) in enumerate(zip(line.right, line.left[1:], strict=False), 1) if u0 - u1 >= least
    ]
    begins = [0, *(i for i in wide if line.text[i].startswith(" ") and line.left[i] - _end(line, i) >= least)]
    ends = [*begins[1:], len(line.text)]
    return [
        _Word("".join(line.text[begin:end]), line.left[begin], _end(line, end), line.v, line.size)
        for begin, end in zip(begins, ends, strict=True)
    ]


def _end(line: Line, end: int) -> float:
    """Where the word before glyph `end` ends."""
    begin = end - 1
    while begin > 0 and not line.text[begin].startswith(" "):
        begin -= 1
    return max(line.right[begin:end])


def _closed(run: _Run) -> list[Line]:
    """The run as one table if it is one, else its lines; lines of one cell at its end stay lines."""
    length = max(i for i, cells in enumerate(run.rows, 1) if len(cells) >= 2)
    lines, rest = run.lines[:length], run.lines[length:]
    rows = [_in_columns(cells, run.columns) for cells in run.rows[:length]]
    texts = [cell for row in rows for cell in row if cell]
    full = sum(len(cells) >= 2 for cells in run.rows)
    if full < _LEAST_ROWS or 2 * len(texts) < len(rows) * len(run.columns):
        return run.lines
    if len(run.columns) == 2 and sum(_has_digit(row[1]) for row in rows) <= len(rows) / 2:
        return run.lines  # two columns without numbers may be anything
    if sum(map(len, texts)) > _SHORT_CELL * len(texts):
        return run.lines
    return [_table_line(rows, lines[0].u0, lines[0].u1, lines[0].v), *rest]


def _in_columns(cells: Sequence[_Word], columns: Sequence[tuple[float, float]]) -> list[str]:
    row = [""] * len(columns)
    for cell in cells:
        number = max(
            range(len(columns)), key=lambda i: min(cell.u1, columns[i][1]) - max(cell.u0, columns[i][0])
        )
        row[number] = f"{row[number]} {cell.text}"
    return [" ".join(text.split()) for text in row]


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)
