"""What PDFium says of each character of a page, as arrays.

A character is asked for three things, millions of times in a long document; so this is done with plain addresses.
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.rag.readers.pdf.names import Names, bare
from weightwright.rag.readers.pdf.symbols import is_tex, meaning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNKNOWN = 0xFFFF  # a glyph of which nobody knows what it means
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class Characters:
    """`n` characters, generated white space among them: `code` [n] Unicode, `origin` [n, 2] and `box` [n, 4]
    (left, bottom, right, top) on the page, `thing` [n] the address of the text object, 0 for none,
    `matrix` [n, 5] a b c d and the font's size.
    """

    code: Ints
    origin: Floats
    box: Floats
    thing: Ints
    matrix: Floats

    def take(self, which: Any) -> "Characters":
        """Those of a mask, or of numbers."""
        return Characters(
            self.code[which], self.origin[which], self.box[which], self.thing[which], self.matrix[which]
        )


def characters(text_page: Any, names: Callable[[], Names]) -> Characters:
    """The characters of a page in PDFium's order; `names` gives the meanings of its fonts' codes when asked."""
    import pypdfium2.raw as pdfium

    n = max(0, pdfium.FPDFText_CountChars(text_page))
    origin, box, thing = _places(text_page, n)
    code, matrix = _codes(text_page, n), np.zeros((n, 5))
    if not n:
        return Characters(code, origin, box, thing, matrix)
    first = np.flatnonzero(np.concatenate([[True], thing[1:] != thing[:-1]]))
    known = np.array([_matrix(text_page, int(i)) for i in first])
    matrix = np.repeat(known, np.diff(np.append(first, n)), axis=0)
    _set_apart(origin, box, thing, matrix)
    found = Characters(code, origin, box, thing, matrix)
    return _spelled(found, dict(_explained(text_page, found, first, names)))


def _places(text_page: Any, n: int) -> tuple[Floats, Floats, Ints]:
    """Origin [n, 2], box [n, 4] and address of the text object [n]."""
    calls = _calls()
    handle = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    origin, box = np.zeros((n, 2)), np.zeros((n, 4), np.float32)
    at_origin, at_box = origin.ctypes.data, box.ctypes.data
    things: list[int] = [0] * n
    for i in range(n):
        calls.origin(handle, i, at_origin + 16 * i, at_origin + 16 * i + 8)
        calls.box(handle, i, at_box + 16 * i)
        things[i] = calls.thing(handle, i) or 0
    # FS_RECTF holds left, top, right, bottom
    return origin, box[:, [0, 3, 2, 1]].astype(np.float64), np.array(things, np.int64)


def _set_apart(origin: Floats, box: Floats, thing: Ints, matrix: Floats) -> None:
    """Give characters of one origin that of their own box: an ActualText's, which stand in for other glyphs."""
    same = (thing[1:] == thing[:-1]) & (thing[1:] != 0) & (np.diff(origin, axis=0) == 0).all(axis=1)
    one = same & (np.diff(box, axis=0) != 0).any(axis=1)
    if not one.any():
        return
    own = np.flatnonzero(np.append(one, False) | np.append(False, one))
    a, b = matrix[own, 0], matrix[own, 1]
    upright = np.abs(a) >= np.abs(b)
    origin[own, 0] = np.where(upright, np.where(a >= 0, box[own, 0], box[own, 2]), origin[own, 0])
    origin[own, 1] = np.where(upright, origin[own, 1], np.where(b >= 0, box[own, 1], box[own, 3]))


def _spelled(found: Characters, meanings: dict[int, str]) -> Characters:
    """The characters with what some of them mean: letters of one glyph have one place."""
    if not meanings:
        return found
    times = np.ones(len(found.code), np.int64)
    for i, letters in meanings.items():
        times[i] = max(1, len(letters))
    starts = np.cumsum(times) - times
    out = found.take(np.repeat(np.arange(len(times)), times))
    for i, letters in meanings.items():
        out.code[starts[i] : starts[i] + times[i]] = list(map(ord, letters)) or [UNKNOWN]
    return out


def _explained(
    text_page: Any, found: Characters, firsts: Ints, names: Callable[[], Names]
) -> Iterator[tuple[int, str]]:
    """What stands for glyphs that the file does not explain to PDFium, by their number."""
    import pypdfium2.raw as pdfium

    error = _calls().error
    handle = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    fonts: dict[int, str] = {}
    meanings: dict[tuple[int, int], str | None] = {}
    for begin, end in pairwise([*firsts.tolist(), len(found.code)]):
        thing = int(found.thing[begin])
        if not thing:
            continue
        font = ctypes.cast(pdfium.FPDFTextObj_GetFont(_object(thing)), ctypes.c_void_p).value or 0
        if font not in fonts:
            fonts[font] = _font(text_page, begin)
        for i, code in enumerate(found.code[begin:end].tolist(), begin):
            if (font, code) not in meanings:
                known = error(handle, i) != 1
                meanings[font, code] = None if known else _meaning(fonts[font], code, names)
            letters = meanings[font, code]
            if letters is not None:
                yield i, letters


def _meaning(font: str, code: int, names: Callable[[], Names]) -> str | None:
    """What a glyph stands for; "" for nothing to read, None where it may be what its code says."""
    if is_tex(font):
        return meaning(font, code)
    return names().get(bare(font), {}).get(code) or None


def _object(address: int) -> Any:
    import pypdfium2.raw as pdfium

    return ctypes.cast(address, pdfium.FPDF_PAGEOBJECT)


def _font(text_page: Any, i: int) -> str:
    """The name of a character's font."""
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
    error: Any


@cache
def _calls() -> _Calls:
    """PDFium's functions that are called for every character, with plain addresses: a third of the time."""
    import pypdfium2.raw as pdfium

    def plain(function: Any, result: Any, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(result, *arguments)(ctypes.cast(function, ctypes.c_void_p).value or 0)

    address, number = ctypes.c_void_p, ctypes.c_int
    return _Calls(
        plain(pdfium.FPDFText_GetCharOrigin, number, address, number, address, address),
        plain(pdfium.FPDFText_GetLooseCharBox, number, address, number, address),
        plain(pdfium.FPDFText_GetTextObject, address, address, number),
        plain(pdfium.FPDFText_HasUnicodeMapError, number, address, number),
    )
