"""The glyphs of a PDF page with their places, in the order in which PDFium has them.

A glyph's frame is its own writing direction: `u` runs along it, `v` up from it, both in points. So turned text is
handled as upright text is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightwright.rag.readers.pdf.accents import composed
from weightwright.rag.readers.pdf.characters import UNKNOWN, Bools, Characters, Floats, Ints, characters
from weightwright.rag.readers.pdf.names import Names

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points of the page

NOTHING, GUESSED, SPACE, NEWLINE = (
    0,
    1,
    2,
    3,
)  # between a glyph and the one before: PDFium's guess, or one that is drawn
_SPACES = np.array([0x20, 0x09, 0xA0, 0x0D, 0x0A, 0x3000, 0x200B, 0xFEFF, *range(0x2000, 0x200B)])
_HYPHENS = np.array([0x02, 0xAD, 0x2010])
_TURN_DEGREES = 2.0  # glyphs whose directions differ by more are not on one line
DOWN = -90  # text that is written downwards; text that is turned by a right angle has 90 or 270
_SHORT_TEXT = 4  # glyphs of a text object: fewer say nothing alone
_DRAWN_AGAIN = 0.8  # of a text's glyphs
_AT_ONCE = 3  # glyphs: what is drawn again so soon is no other text
_WITHIN = 0.05  # of the size: how far a glyph begins within the one before it
_HEIGHT = 1.15  # of the size: the usual height of a glyph's box


@dataclass(frozen=True, slots=True)
class Glyphs:
    """`n` glyphs: `code` [n] Unicode, `u0`, `u1` (begin and end), `v` (baseline), `size` [n] in points.

    `angle` [n] is the direction in whole degrees, counter-clockwise from the page's own; `before` [n] is NOTHING,
    GUESSED, SPACE or NEWLINE; `begins` [n] says whether it is the first of its text object;
    `box` [n, 4] lies on the page.
    """

    code: Ints
    u0: Floats
    u1: Floats
    v: Floats
    size: Floats
    angle: Ints
    before: Ints
    begins: Bools
    box: Floats

    def __len__(self) -> int:
        return len(self.code)


def page_glyphs(page: Any, names: Callable[[], Names]) -> Glyphs:
    """The visible page's glyphs, without white space and without what lies off the page.

    PDFium sorts the glyphs of a line as the page is shown, and wrongly where most of the text does not stand
    upright there; so the page is turned first until it does.
    """
    glyphs = _glyphs(page, names)
    if not len(glyphs):
        return glyphs
    turned = np.where(glyphs.angle == DOWN, 0, glyphs.angle)
    angles, counts = np.unique(turned, return_counts=True)
    most = int(angles[np.argmax(counts)])
    if most % 90 == 0 and page.get_rotation() != most:
        page.set_rotation(most)  # a clockwise turn by the angle of the text puts it upright
        return _glyphs(page, names)
    return glyphs


def to_frame(box: Box, angle: int) -> Box:
    """A box of the page in the frame of text of this angle."""
    cos, sin = _direction(np.array([angle]))
    x, y = np.array([box[0], box[2]]), np.array([box[1], box[3]])
    u = [cos[0] * a + sin[0] * b for a in x for b in y]
    v = [cos[0] * b - sin[0] * a for a in x for b in y]
    return float(min(u)), float(min(v)), float(max(u)), float(max(v))


def _glyphs(page: Any, names: Callable[[], Names]) -> Glyphs:
    text_page = page.get_textpage()
    try:
        found = characters(text_page, names)
    finally:
        text_page.close()
    spaces = np.isin(found.code, _SPACES)
    before = _between(found.code, spaces, spaces & (found.thing != 0))
    kept = np.flatnonzero(_shown(found, page.get_bbox()) & ~spaces)
    found, before = found.take(kept), before[kept]
    angle, size = _turned(found)
    once = np.flatnonzero(_once(found, size))
    found, before, angle, size = found.take(once), before[once], angle[once], size[once]
    origin, box = found.origin, found.box
    cos, sin = _direction(angle)
    u0 = origin[:, 0] * cos + origin[:, 1] * sin
    v = origin[:, 1] * cos - origin[:, 0] * sin
    u0 = np.where(angle == DOWN, -box[:, 3], u0)
    u1 = _ends(box, u0, size, angle)
    u1 = np.where(angle == DOWN, u1, _advanced(found, u0, u1, size, before))
    begins = np.append(True, np.diff(found.thing) != 0)[: len(u0)]
    code = np.where(np.isin(found.code, _HYPHENS), ord("-"), found.code)
    code, before, stays = composed(code, u0, u1, v, size, before)
    return Glyphs(
        code[stays], u0[stays], u1[stays], v[stays], size[stays], angle[stays], before[stays], begins[stays],
        box[stays],
    )  # fmt: skip


def _advanced(found: Characters, u0: Floats, u1: Floats, size: Floats, before: Ints) -> Floats:
    """Ends by the font's widths for glyphs that others begin within, as where another font stands in for theirs."""
    wide = (u1 - u0) / size
    scale = found.matrix[:, 4] * np.hypot(found.matrix[:, 0], found.matrix[:, 1]) / size
    advance = found.advance * scale
    step = np.append(np.diff(u0), 0)[: len(u0)] / size
    follows = np.append((np.diff(found.thing) == 0) & (before[1:] == NOTHING), False)[: len(u0)] & (step > 0)
    kinds = int(found.kind.max(initial=0)) + 1
    least_step, least_width = np.full(kinds, np.inf), np.full(kinds, np.inf)
    np.minimum.at(least_step, found.kind[follows], step[follows])
    np.minimum.at(least_width, found.kind, wide)
    within = least_step[found.kind] < wide - _WITHIN
    narrow = (advance > 0) & (advance < wide) & (advance > least_step[found.kind] - 0.1)
    usual = wide < least_width[found.kind] + _WITHIN  # else a ligature that has the code of one letter
    return np.where(within & narrow & usual, u0 + advance * size, u1)


def _shown(found: Characters, page: Box) -> Bools:
    """Which characters have a place on the visible page and a meaning."""
    code, box = found.code, found.box
    left, bottom, right, top = page
    y = (box[:, 1] + box[:, 3]) / 2
    inside = (box[:, 2] >= left) & (box[:, 0] <= right) & (y >= bottom) & (y <= top)
    extent = (box[:, 2] != box[:, 0]) | (box[:, 3] != box[:, 1])
    shown: Bools = inside & extent & ((code > 0x1F) | (code == 0x02)) & (code != 0xFFFE) & (code != UNKNOWN)
    return shown


def _once(found: Characters, size: Floats) -> Bools:
    """All glyphs but those of texts that are drawn again in the same place, to look bold or to cast a shadow.

    A text goes or stays as a whole: of one that was drawn twice in other widths only some letters coincide.
    """
    at_once, again = _again(found, size)
    if not again.any():
        return ~at_once
    text = _texts(found, size)
    share: Floats = np.bincount(text, again) / np.maximum(np.bincount(text), 1)
    once: Bools = ~at_once & (share[text] < _DRAWN_AGAIN)
    return once


def _texts(found: Characters, size: Floats) -> Ints:
    """The number of each glyph's text: a text object, or short ones that follow each other on a line."""
    first = np.append(True, np.diff(found.thing) != 0)
    starts = np.flatnonzero(first)
    short = np.diff(np.append(starts, len(first))) < _SHORT_TEXT
    before = np.maximum(starts[1:] - 1, 0)
    x, y = (found.origin[starts[1:], axis] - found.origin[before, axis] for axis in (0, 1))
    near = (np.abs(y) < 0.5 * size[starts[1:]]) & (np.abs(x) < 2 * size[starts[1:]])
    begins = np.append(True, ~(short[1:] & short[:-1] & near))
    numbers: Ints = np.cumsum(begins)[np.cumsum(first) - 1]
    return numbers


def _again(found: Characters, size: Floats) -> tuple[Bools, Bools]:
    """Glyphs in whose place the same glyph was drawn right before, and those where it was drawn at any time."""
    code, origin, thing = found.code, found.origin, found.thing
    at_once, again = np.zeros(len(code), np.bool_), np.zeros(len(code), np.bool_)
    rows = [np.floor((origin[:, 1] + offset) / 2) for offset in (0, 1)]  # of two points; and across these
    orders = [np.lexsort((origin[:, 0], row, code)) for row in rows]
    for step in (1, 2, 3):
        for order in orders:
            one, other = order[:-step], order[step:]
            near = (np.abs(origin[one] - origin[other]) < 0.1 * size[other, None]).all(axis=1)
            ligature = (np.abs(one - other) == 1) & (thing[one] == thing[other])  # the letters of ff
            same = near & (code[one] == code[other]) & ~ligature
            later = np.maximum(one, other)[same]
            again[later] = True
            at_once[later[np.abs(one - other)[same] <= _AT_ONCE]] = True
        if not again.any():
            break
    return at_once, again


def _between(code: Ints, spaces: Bools, drawn: Bools) -> Ints:
    """For each character what stands between it and the last one that is no space."""
    if not len(code):
        return code
    last = np.maximum.accumulate(np.where(spaces, -1, np.arange(len(code))))
    last = np.maximum(np.concatenate([[0], last[:-1]]), 0)

    def any_of(which: Bools) -> Bools:
        counts = np.cumsum(which)
        found: Bools = counts > counts[last]
        return found

    breaks = np.isin(code, (0x0D, 0x0A))
    choices = [any_of(breaks & ~drawn), any_of(drawn), any_of(spaces)]
    return np.select(choices, [NEWLINE, SPACE, GUESSED], NOTHING).astype(np.int64)


def _turned(found: Characters) -> tuple[Ints, Floats]:
    """Direction in whole degrees and size in points of each glyph, from its text object's matrix."""
    matrix = found.matrix
    angle = np.rint(np.degrees(np.arctan2(matrix[:, 1], matrix[:, 0]))).astype(np.int64)
    size = np.maximum(matrix[:, 4] * np.hypot(matrix[:, 2], matrix[:, 3]), 0.01)
    near = np.rint(angle / 90).astype(np.int64) * 90
    angle = np.where(np.abs(angle - near) <= _TURN_DEGREES, near, angle).astype(np.int64)
    angle %= 360
    return np.where(_written_down(found, size, angle), DOWN, angle), size


def _written_down(found: Characters, size: Floats, angle: Ints) -> Bools:
    """Glyphs of text objects whose upright glyphs stand below each other: vertical Chinese and Japanese."""
    origin, thing = found.origin, found.thing
    down = np.zeros(len(size), np.bool_)
    if len(size) < 2:
        return down
    step = np.diff(origin, axis=0)
    below = (np.abs(step[:, 0]) < 0.35 * size[1:]) & (step[:, 1] < -0.4 * size[1:]) & (angle[1:] == 0)
    same = thing[1:] == thing[:-1]
    if not (below & same).any():
        return down
    _, group = np.unique(thing, return_inverse=True)
    steps = np.bincount(group[1:][same], minlength=group.max() + 1)
    falls = np.bincount(group[1:][same & below], minlength=group.max() + 1)
    vertical: Bools = (falls > 0.8 * steps) & (falls > 0)
    return vertical[group]


def _direction(angle: Ints) -> tuple[Floats, Floats]:
    turn = np.radians(angle)
    return np.rint(np.cos(turn) * 1e9) / 1e9, np.rint(np.sin(turn) * 1e9) / 1e9


def _ends(box: Floats, u0: Floats, size: Floats, angle: Ints) -> Floats:
    """Where each glyph's advance ends: what its box says, which stands upright around a turned glyph."""
    cos, sin = (np.abs(part) for part in _direction(angle))
    across, up = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    # a glyph of width w and height h has a box of w·cos + h·sin by w·sin + h·cos
    spread = cos**2 - sin**2
    diagonal = np.abs(spread) < 0.2
    exact = (across * cos - up * sin) / np.where(diagonal, 1, spread)
    about = (across - _HEIGHT * size * sin) / np.maximum(cos, 0.1)
    width: Floats = np.where(diagonal, about, exact)
    sides = {0: box[:, 2], 90: box[:, 3], 180: -box[:, 0], 270: -box[:, 1], DOWN: -box[:, 1]}
    turned = [angle == turn for turn in sides]
    return np.select(turned, list(sides.values()), u0 + np.maximum(width, 0))
