"""The glyphs of a PDF page with their places, in the order in which PDFium has them.

A glyph's frame is its own writing direction: `u` runs along it, `v` up from it, both in points. So turned text is
handled as upright text is.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.rag.readers.pdf.symbols import is_tex, meaning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
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
_HEIGHT = 1.15  # of the size: the usual height of a glyph's box
_LONGEST_NAME = 128
_LIGATURES = {"ff": "ﬀ", "fi": "ﬁ", "fl": "ﬂ", "ffi": "ﬃ", "ffl": "ﬄ"}
_UNKNOWN = 0xFFFF  # a glyph of which nobody knows what it means


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


def page_glyphs(page: Any) -> Glyphs:
    """The visible page's glyphs, without white space and without what lies off the page.

    PDFium sorts the glyphs of a line as the page is shown, and wrongly where most of the text does not stand
    upright there; so the page is turned first until it does.
    """
    glyphs = _glyphs(page)
    if not len(glyphs):
        return glyphs
    turned = np.where(glyphs.angle == DOWN, 0, glyphs.angle)
    angles, counts = np.unique(turned, return_counts=True)
    most = int(angles[np.argmax(counts)])
    if most % 90 == 0 and page.get_rotation() != most:
        page.set_rotation(most)  # a clockwise turn by the angle of the text puts it upright
        return _glyphs(page)
    return glyphs


def to_frame(box: Box, angle: int) -> Box:
    """A box of the page in the frame of text of this angle."""
    cos, sin = _direction(np.array([angle]))
    x, y = np.array([box[0], box[2]]), np.array([box[1], box[3]])
    u = [cos[0] * a + sin[0] * b for a in x for b in y]
    v = [cos[0] * b - sin[0] * a for a in x for b in y]
    return float(min(u)), float(min(v)), float(max(u)), float(max(v))


def _glyphs(page: Any) -> Glyphs:
    text_page = page.get_textpage()
    try:
        raw = _raw(text_page)
    finally:
        text_page.close()
    code, origin, box, thing, matrix = raw
    spaces = np.isin(code, _SPACES)
    drawn = spaces & (thing != 0)
    before = _between(code, spaces, drawn)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    left, bottom, right, top = page.get_bbox()
    x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
    inside = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    kept = ~spaces & inside & ((width != 0) | (height != 0)) & ((code > 0x1F) | (code == 0x02))
    kept &= (code != 0xFFFE) & (code != 0xFFFF)
    code, origin, box, thing, before = code[kept], origin[kept], box[kept], thing[kept], before[kept]
    matrix = matrix[kept]
    code = np.where(np.isin(code, _HYPHENS), ord("-"), code)
    angle, size = _turned(origin, thing, matrix)
    once = _once(code, origin, size, thing)
    code, origin, box, thing, before = code[once], origin[once], box[once], thing[once], before[once]
    angle, size = angle[once], size[once]
    cos, sin = _direction(angle)
    u0 = origin[:, 0] * cos + origin[:, 1] * sin
    v = origin[:, 1] * cos - origin[:, 0] * sin
    u0 = np.where(angle == DOWN, -box[:, 3], u0)
    u1 = _ends(box, u0, size, angle)
    begins = np.append(True, np.diff(thing) != 0)[: len(thing)]
    return Glyphs(code, u0, u1, v, size, angle, before, begins, box)


def _once(code: Ints, origin: Floats, size: Floats, thing: Ints) -> Bools:
    """All glyphs but those that are drawn again in the same place, to look bold or to cast a shadow."""
    order = np.lexsort((origin[:, 0], np.rint(origin[:, 1] / 2), code))
    sorted_code, place, em = code[order], origin[order], size[order]
    near = np.abs(np.diff(place, axis=0)) < 0.1 * em[1:, None]
    ligature = (np.abs(np.diff(order)) == 1) & (
        np.diff(thing[order]) == 0
    )  # the letters of ff have one place
    again = np.concatenate([[False], near.all(axis=1) & (np.diff(sorted_code) == 0) & ~ligature])[: len(code)]
    once = np.ones(len(code), np.bool_)
    once[order[again]] = False
    return once


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


def _turned(origin: Floats, thing: Ints, matrix: Floats) -> tuple[Ints, Floats]:
    """Direction in whole degrees and size in points of each glyph, from its text object's matrix."""
    angle = np.rint(np.degrees(np.arctan2(matrix[:, 1], matrix[:, 0]))).astype(np.int64)
    size = np.maximum(matrix[:, 4] * np.hypot(matrix[:, 2], matrix[:, 3]), 0.01)
    near = np.rint(angle / 90).astype(np.int64) * 90
    angle = np.where(np.abs(angle - near) <= _TURN_DEGREES, near, angle).astype(np.int64)
    angle %= 360
    return np.where(_written_down(origin, thing, size, angle), DOWN, angle), size


def _written_down(origin: Floats, thing: Ints, size: Floats, angle: Ints) -> Bools:
    """Glyphs of text objects whose upright glyphs stand below each other: vertical Chinese and Japanese."""
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


def _raw(text_page: Any) -> tuple[Ints, Floats, Floats, Ints, Floats]:
    """Code, origin [n, 2], box [n, 4], address of the text object, matrix a b c d and font size [n, 5]."""
    import pypdfium2.raw as pdfium

    calls = _calls()
    handle = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    n = max(0, pdfium.FPDFText_CountChars(text_page))
    origin, box = np.zeros((n, 2)), np.zeros((n, 4), np.float32)
    at_origin, at_box = origin.ctypes.data, box.ctypes.data
    things: list[int] = [0] * n
    for i in range(n):
        calls.origin(handle, i, at_origin + 16 * i, at_origin + 16 * i + 8)
        calls.box(handle, i, at_box + 16 * i)
        things[i] = calls.thing(handle, i) or 0
    # FS_RECTF holds left, top, right, bottom
    upright = box[:, [0, 3, 2, 1]].astype(np.float64)
    thing = np.array(things, np.int64)
    codes, matrix = _codes(text_page, n), np.zeros((n, 5))
    if n:
        first = np.flatnonzero(np.concatenate([[True], thing[1:] != thing[:-1]]))
        known = np.array([_matrix(text_page, int(i)) for i in first])
        matrix = np.repeat(known, np.diff(np.append(first, n)), axis=0)
        for i, sign in _explained(text_page, codes, first).items():
            codes[i] = _ligature(sign)
    return codes, origin, upright, thing, matrix


def _ligature(sign: str) -> int:
    """One code for a sign of one or more letters."""
    return ord(_LIGATURES.get(sign, sign)) if sign else _UNKNOWN


def _explained(text_page: Any, codes: Ints, firsts: Ints) -> dict[int, str]:
    """What stands for glyphs of TeX's fonts that the file does not explain, by their number."""
    import pypdfium2.raw as pdfium

    found: dict[int, str] = {}
    ends = [*firsts[1:].tolist(), len(codes)]
    for begin, end in zip(firsts.tolist(), ends, strict=True):
        font = _font(text_page, begin)
        if not is_tex(font):
            continue
        for i in range(begin, end):
            if pdfium.FPDFText_HasUnicodeMapError(text_page, i) == 1:
                found[i] = meaning(font, int(codes[i]))
    return found


def _font(text_page: Any, i: int) -> str:
    """The name of a glyph's font."""
    import pypdfium2.raw as pdfium

    name, flags = ctypes.create_string_buffer(_LONGEST_NAME), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text_page, i, name, _LONGEST_NAME, flags)
    return name.value.decode("latin-1")


def _matrix(text_page: Any, i: int) -> tuple[float, float, float, float, float]:
    import pypdfium2.raw as pdfium

    found = pdfium.FS_MATRIX()
    pdfium.FPDFText_GetMatrix(text_page, i, found)
    size = pdfium.FPDFText_GetFontSize(text_page, i)
    return found.a, found.b, found.c, found.d, size


def _codes(text_page: Any, n: int) -> Ints:
    import pypdfium2.raw as pdfium

    buffer = (ctypes.c_uint16 * (n + 1))()
    if pdfium.FPDFText_GetText(text_page, 0, n, buffer) == n + 1:
        codes = np.ctypeslib.as_array(buffer)[:n].astype(np.int64)
        if not ((codes >= 0xD800) & (codes < 0xE000)).any():
            for i in np.flatnonzero(codes == 0xFFFE).tolist():  # a hyphen that ends a line
                codes[i] = pdfium.FPDFText_GetUnicode(text_page, i)
            return codes
    return np.array([pdfium.FPDFText_GetUnicode(text_page, i) for i in range(n)], np.int64)


@dataclass(frozen=True, slots=True)
class _Calls:
    origin: Any
    box: Any
    thing: Any


@cache
def _calls() -> _Calls:
    """PDFium's functions that are called for every glyph, with plain addresses: a third of the time."""
    import pypdfium2.raw as pdfium

    def plain(function: Any, result: Any, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(result, *arguments)(ctypes.cast(function, ctypes.c_void_p).value or 0)

    address, number = ctypes.c_void_p, ctypes.c_int
    return _Calls(
        plain(pdfium.FPDFText_GetCharOrigin, number, address, number, address, address),
        plain(pdfium.FPDFText_GetLooseCharBox, number, address, number, address),
        plain(pdfium.FPDFText_GetTextObject, address, address, number),
    )
