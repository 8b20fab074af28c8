"""The straight lines that are drawn on a PDF page, and the grids that they make."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_THIN = 3.0  # points: a filled box that is no wider is a line
_NEAR = 2.5  # points: lines that lie closer are one
_SHORT = 6.0  # points: shorter lines are no rules
_MOST_PATHS = 4_000  # a page with more is a drawing
_MOST_SEGMENTS = 2_000
_MOST_GRID_LINES = 200

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal or vertical line: `at` its height (or place across), from `start` to `end`, in points."""

    at: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells between rules: `x` from left to right, `y` from top to bottom; `cell_of[row][column]` numbers the cells.

    Where no rule parts two places of the grid, they have the number of one cell.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    cell_of: tuple[tuple[int, ...], ...]


def grids(page: Any) -> list[Grid]:
    """The page's grids of at least two rows and two columns."""
    across, down = _rules(page)
    found = []
    for rows, columns in _connected(_merged(across), _merged(down)):
        y = sorted({rule.at for rule in rows}, reverse=True)
        x = sorted({rule.at for rule in columns})
        if 3 <= len(x) <= _MOST_GRID_LINES and 3 <= len(y) <= _MOST_GRID_LINES:
            found.append(Grid(tuple(x), tuple(y), _cells(x, y, rows, columns)))
    return found


def _rules(page: Any) -> tuple[list[Rule], list[Rule]]:
    """Horizontal and vertical lines; none of a page that is a drawing."""
    import pypdfium2.raw as pdfium

    across: list[Rule] = []
    down: list[Rule] = []
    paths = 0
    for i in range(pdfium.FPDFPage_CountObjects(page)):
        thing = pdfium.FPDFPage_GetObject(page, i)
        if pdfium.FPDFPageObj_GetType(thing) != pdfium.FPDF_PAGEOBJ_PATH:
            continue
        paths += 1
        if paths > _MOST_PATHS:
            return [], []
        for (x0, y0), (x1, y1) in _straight(thing):
            if abs(y1 - y0) <= 0.5 and abs(x1 - x0) >= _SHORT:
                across.append(Rule((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
            elif abs(x1 - x0) <= 0.5 and abs(y1 - y0) >= _SHORT:
                down.append(Rule((x0 + x1) / 2, min(y0, y1), max(y0, y1)))
    return across, down


def _straight(path: Any) -> Iterator[tuple[Point, Point]]:
    """A path's straight pieces; a thin box is one piece."""
    import pypdfium2.raw as pdfium

    sides = [ctypes.c_float() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetBounds(path, *sides):
        return
    left, bottom, right, top = (side.value for side in sides)
    if min(right - left, top - bottom) <= _THIN:
        if right - left > top - bottom:
            middle = (bottom + top) / 2
            yield (left, middle), (right, middle)
        else:
            middle = (left + right) / 2
            yield (middle, bottom), (middle, top)
        return
    count = pdfium.FPDFPath_CountSegments(path)
    if count > _MOST_SEGMENTS:
        return
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(path, matrix)
    begin: Point | None = None
    before: Point | None = None
    for i in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(path, i)
        point = _point(segment, matrix)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_LINETO and before is not None:
            yield before, point
        elif kind == pdfium.FPDF_SEGMENT_MOVETO:
            begin = point
        before = point
        if pdfium.FPDFPathSegment_GetClose(segment) and begin is not None:
            yield point, begin


def _point(segment: Any, matrix: Any) -> Point:
    import pypdfium2.raw as pdfium

    x, y = ctypes.c_float(), ctypes.c_float()
    pdfium.FPDFPathSegment_GetPoint(segment, x, y)
    return (
        matrix.a * x.value + matrix.c * y.value + matrix.e,
        matrix.b * x.value + matrix.d * y.value + matrix.f,
    )


def _merged(rules: list[Rule]) -> list[Rule]:
    """Rules whose places are made equal where they are near, and joined where they touch."""
    merged: list[Rule] = []
    group: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: rule.at):
        if group and rule.at - group[0].at > _NEAR:
            merged += _joined(group)
            group = []
        group.append(rule)
    return merged + _joined(group)


def _joined(group: list[Rule]) -> list[Rule]:
    out: list[Rule] = []
    for rule in sorted(group, key=lambda rule: rule.start):
        if out and rule.start <= out[-1].end + _NEAR:
            out[-1] = Rule(group[0].at, out[-1].start, max(out[-1].end, rule.end))
        else:
            out.append(Rule(group[0].at, rule.start, rule.end))
    return out


def _connected(across: list[Rule], down: list[Rule]) -> Iterator[tuple[list[Rule], list[Rule]]]:
    """Rules that cross or meet, group by group."""
    parent = list(range(len(across) + len(down)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, row in enumerate(across):
        for j, column in enumerate(down, len(across)):
            if (
                row.start - _NEAR <= column.at <= row.end + _NEAR
                and column.start - _NEAR <= row.at <= column.end + _NEAR
            ):
                parent[root(i)] = root(j)
    groups: dict[int, tuple[list[Rule], list[Rule]]] = {}
    for i, rule in enumerate([*across, *down]):
        groups.setdefault(root(i), ([], []))[0 if i < len(across) else 1].append(rule)
    yield from groups.values()


def _cells(
    x: Sequence[float], y: Sequence[float], rows: Sequence[Rule], columns: Sequence[Rule]
) -> tuple[tuple[int, ...], ...]:
    """The number of each place's cell: that of its first place, from the top left."""
    width, height = len(x) - 1, len(y) - 1
    parent = list(range(width * height))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    def join(one: int, other: int) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    for r in range(height):
        for c in range(width):
            middle_x, middle_y = (x[c] + x[c + 1]) / 2, (y[r] + y[r + 1]) / 2
            if c + 1 < width and not _covers(columns, x[c + 1], middle_y):
                join(r * width + c, r * width + c + 1)
            if r + 1 < height and not _covers(rows, y[r + 1], middle_x):
                join(r * width + c, (r + 1) * width + c)
    return tuple(tuple(root(r * width + c) for c in range(width)) for r in range(height))


def _covers(rules: Sequence[Rule], at: float, middle: float) -> bool:
    return any(rule.at == at and rule.start <= middle <= rule.end for rule in rules)
