"""Glyphs to lines in reading order.

PDFium's order is that in which the page was drawn, which is nearly always the order of reading and knows columns from
each other. So lines are made of glyphs that follow each other there and on the page; geometry alone says where a line
ends and where words part.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from weightwright.rag.readers.pdf.characters import Bools, Floats, Ints
from weightwright.rag.readers.pdf.glyphs import DOWN, GUESSED, NEWLINE, NOTHING, SPACE, Glyphs

_OFF_LINE = 0.65  # of the size: a baseline that differs by more is another line's (raised notes stay)
_RAISED = 0.3  # of the size: what differs by more must follow without stepping back
_BACK = 0.9  # of the size: what begins further back does not follow
# least gaps between words, of the size: where PDFium breaks the line, where it sees a space (or a text object begins
# behind a digit), between text objects, and elsewhere
_BROKEN_GAP, _GUESSED_GAP, _OBJECT_GAP, _WORD_GAP = 0.05, 0.08, 0.1, 0.15
_LEAST_GAPS = 6  # fewer say nothing of how letters are set
_MOST_TRACKING = 0.2  # of the size: single digits that stand apart are no word
_LATE_GAP = 0.6  # of the size: what is drawn later, but stands as close to a line as this, belongs to it
_SMALL = 0.85  # of the size of the line: a raised or lowered digit is no larger
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(slots=True)
class Line:
    """Text on one baseline: `u0` to `u1` along it, `v` its height, `size` the largest glyphs', in points.

    `text`, `left` and `right` hold a string, its begin and its end for each glyph; a string begins with a space
    where a word begins. `table`: a whole table as Markdown.
    """

    text: list[str]
    left: list[float]
    right: list[float]
    v: float
    size: float
    angle: int
    table: bool = False

    @property
    def u0(self) -> float:
        """Where it begins."""
        return self.left[0]

    @property
    def u1(self) -> float:
        """Where it ends."""
        return max(self.right)

    def __str__(self) -> str:
        return "".join(self.text).strip()


def lines_of(glyphs: Glyphs) -> list[Line]:
    """The page's lines, each from left to right, in reading order."""
    if not len(glyphs):
        return []
    breaks, spaces = _parted(glyphs)
    text = _text_of(glyphs, spaces)
    starts = np.flatnonzero(breaks)
    ends = np.append(starts[1:], len(glyphs))
    left, right, size, v = glyphs.u0.tolist(), glyphs.u1.tolist(), glyphs.size, glyphs.v
    largest, smallest = np.maximum.reduceat(size, starts).tolist(), np.minimum.reduceat(size, starts).tolist()
    top, bottom = np.maximum.reduceat(v, starts).tolist(), np.minimum.reduceat(v, starts).tolist()
    lines = []
    for i, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        base = top[i]
        if top[i] != bottom[i]:
            base = float(np.median(v[begin:end][size[begin:end] >= 0.8 * largest[i]]))
        line = Line(
            text[begin:end], left[begin:end], right[begin:end], base, largest[i], int(glyphs.angle[begin])
        )
        if smallest[i] <= _SMALL * largest[i]:
            _mark_raised(line, size[begin:end], v[begin:end])
        lines.append(line)
    return _top_to_bottom(_joined(lines))


def _parted(glyphs: Glyphs) -> tuple[Bools, Bools]:
    """For each glyph whether it begins a line [n] and whether it begins a word [n]."""
    size = np.maximum(glyphs.size[1:], glyphs.size[:-1])
    rise = np.abs(np.diff(glyphs.v))
    gap, step = glyphs.u0[1:] - glyphs.u1[:-1], np.diff(glyphs.u0)
    leftward = _right_to_left(glyphs.code)
    leftward = leftward[1:] | leftward[:-1]
    back = (gap < -_BACK * size) & (step < -0.3 * size)
    stepped = (rise > _RAISED * size) & (gap < -0.2 * size)
    breaks = (np.diff(glyphs.angle) != 0) | (rise > _OFF_LINE * size) | ((back | stepped) & ~leftward)
    breaks |= leftward & (glyphs.before[1:] == NEWLINE) & (rise > 0.1 * size)
    breaks = np.append(True, breaks)
    gap = np.where(leftward, np.maximum(gap, glyphs.u0[:-1] - glyphs.u1[1:]), gap)
    return breaks, np.append(False, _words(glyphs, gap / size - _tracking(glyphs, gap / size, breaks)))


def _words(glyphs: Glyphs, gap: Floats) -> Bools:
    """For each glyph but the first whether a gap before it [n - 1], in its size, parts words."""
    hint, begins = glyphs.before[1:], glyphs.begins
    digit = (glyphs.code >= ord("0")) & (glyphs.code <= ord("9"))
    number = begins[1:] & digit[:-1]
    of_words = begins[1:] & ~begins[:-1] & ~np.append(begins[2:], True)  # two text objects of several glyphs
    least = np.select(
        [hint == NEWLINE, (hint == GUESSED) | number, of_words],
        [_BROKEN_GAP, _GUESSED_GAP, _OBJECT_GAP],
        _WORD_GAP,
    )
    parted: Bools = (hint == SPACE) | (gap > least)
    return parted


def _tracking(glyphs: Glyphs, gap: Floats, breaks: Bools) -> Floats:
    """The gap between letters that are set apart, in their size [n - 1]: their text object's or line's median."""
    inner = ~breaks[1:] & (glyphs.before[1:] == NOTHING)
    inner &= np.diff(glyphs.u0) != 0  # the letters of a ligature have one place
    line, thing = np.cumsum(breaks.astype(np.int64)), np.cumsum(glyphs.begins.astype(np.int64))
    of_line = _medians(line[1:], gap, inner)
    of_object = _medians(thing[1:], gap, inner & ~glyphs.begins[1:])
    found: Floats = np.nan_to_num(np.where(np.isnan(of_object), of_line, of_object))
    return np.clip(found, 0, _MOST_TRACKING)


def _medians(group: Ints, value: Floats, counted: Bools) -> Floats:
    """For each value the median of its group's counted ones; NaN where these are too few."""
    order = np.lexsort((value[counted], group[counted]))
    groups, values = group[counted][order], value[counted][order]
    names, starts, counts = np.unique(groups, return_index=True, return_counts=True)
    found = np.full(int(group.max(initial=0)) + 1, np.nan)
    enough = counts >= _LEAST_GAPS
    found[names[enough]] = values[(starts + counts // 2)[enough]]
    medians: Floats = found[group]
    return medians


def _right_to_left(code: Ints) -> Bools:
    """Hebrew, Arabic and their presentation forms."""
    found: Bools = ((code >= 0x590) & (code < 0x900)) | (
        (code >= 0xFB1D) & (code < 0xFF00) & (code != 0xFE0F)
    )
    return found & ~((code >= 0xFE10) & (code < 0xFE70))


def _text_of(glyphs: Glyphs, spaces: Bools) -> list[str]:
    text = list(map(chr, glyphs.code.tolist()))
    for i in np.flatnonzero(spaces).tolist():
        text[i] = f" {text[i]}"
    return text


def _mark_raised(line: Line, size: Floats, v: Floats) -> None:
    """Raised digits as superscripts (notes, exponents); lowered ones behind a digit as subscripts."""
    for i in np.flatnonzero(size <= _SMALL * line.size).tolist():
        rise = float(v[i]) - line.v
        digit = line.text[i].strip()
        if not (digit.isascii() and digit.isdigit()):
            continue
        if rise > 0.15 * line.size:
            line.text[i] = line.text[i].translate(_SUPERSCRIPTS)
        elif rise < -0.08 * line.size and i and _is_digit(line.text[i - 1]) and line.text[i] == digit:
            line.text[i] = digit.translate(_SUBSCRIPTS)


def _is_digit(text: str) -> bool:
    return text[-1:].isdigit()


def _joined(lines: list[Line]) -> list[Line]:
    """Lines with what was drawn later, but goes on where one ends or ends where one begins."""
    if len(lines) < 2:
        return lines
    kept: list[Line] = []
    open_ends: dict[tuple[int, int], list[Line]] = {}
    for line in lines:
        host = _host(line, open_ends)
        if host is None:
            kept.append(line)
            open_ends.setdefault(_row(line), []).append(line)
        else:
            _append(host, line)
    return kept


def _row(line: Line) -> tuple[int, int]:
    return line.angle, round(line.v)


def _host(line: Line, open_ends: dict[tuple[int, int], list[Line]]) -> Line | None:
    """The earlier line on this baseline that ends, or begins, right beside `line`."""
    angle, row = _row(line)
    for near in (row, row - 1, row + 1):
        for other in open_ends.get((angle, near), ()):
            size = min(line.size, other.size)
            if abs(other.v - line.v) > 0.15 * size:
                continue
            after, before = line.u0 - other.u1, other.u0 - line.u1
            if -0.15 * size <= after <= _LATE_GAP * size or -0.15 * size <= before <= _LATE_GAP * size:
                return other
    return None


def _append(host: Line, line: Line) -> None:
    first, second = (host, line) if host.u0 <= line.u0 else (line, host)
    gap = second.u0 - first.u1
    if gap > 0.15 * max(host.size, line.size) and not second.text[0].startswith(" "):
        second.text[0] = f" {second.text[0]}"
    host.text, host.left, host.right = (
        first.text + second.text,
        first.left + second.left,
        first.right + second.right,
    )
    host.size = max(host.size, line.size)


def _top_to_bottom(lines: list[Line]) -> list[Line]:
    """Runs of lines that were drawn from the bottom up, each above the one before, turned around."""
    if any(line.angle == DOWN for line in lines):
        return _right_to_left_columns(lines)
    steps = [_step(above, below) for above, below in pairwise(lines)]
    ups, downs = steps.count(1), steps.count(-1)
    if ups < 2 or ups <= 3 * downs:
        return lines
    ordered: list[Line] = []
    run = [lines[0]]
    for step, line in zip(steps, lines[1:], strict=True):
        if step != 1:
            ordered += reversed(run)
            run = []
        run.append(line)
    return ordered + run[::-1]


def _right_to_left_columns(lines: list[Line]) -> list[Line]:
    """Vertical text: the columns of a tier from right to left, tiers from top to bottom, before what runs across."""
    tiers: list[list[Line]] = []
    for line in sorted((line for line in lines if line.angle == DOWN), key=lambda line: line.u0):
        if tiers and line.u0 < min(other.u1 for other in tiers[-1]):
            tiers[-1].append(line)
        else:
            tiers.append([line])
    columns = [line for tier in tiers for line in sorted(tier, key=lambda line: -line.v)]
    return columns + [line for line in lines if line.angle != DOWN]


def _step(line: Line, following: Line) -> int:
    """1 if the next line stands closely above this one, -1 closely below, else 0."""
    if line.angle != following.angle:
        return 0
    rise, most = following.v - line.v, 3 * max(line.size, following.size)
    if abs(rise) > most or rise == 0:
        return 0
    end, end_of_following = line.u1, following.u1
    shared = min(end, end_of_following) - max(line.u0, following.u0)
    if shared < 0.3 * min(end - line.u0, end_of_following - following.u0):
        return 0
    return 1 if rise > 0 else -1
