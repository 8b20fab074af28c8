"""What PDFium says of each character of a page, as arrays."""

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.rag.readers.pdf.calls import address, asker, function
from weightwright.rag.readers.pdf.names import MISREAD, Names, bare
from weightwright.rag.readers.pdf.symbols import is_tex, meaning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNKNOWN = 0xFFFF  # a glyph of which nobody knows what it means
_LONGEST_NAME = 128
_MISREAD = re.compile("[a-z][‡·‚‰ÂÊÁËÈÍÎÏÌÓÔÒÚÛÙ˙˚¸][a-z]")  # à to ü of Windows' table, read by Apple's


@dataclass(frozen=True, slots=True)
class Characters:
    """`n` characters, generated white space among them: `code` [n] Unicode, `origin` [n, 2] and `box` [n, 4]
    (left, bottom, right, top) on the page, `thing` [n] the address of the text object, 0 for none,
    `matrix` [n, 5] a b c d and the font's size, `kind` [n] equal for equal codes of one font, `advance` [n] how wide
    the font is said to have it, in its size, 0 for unknown.
    """

    code: Ints
    origin: Floats
    box: Floats
    thing: Ints
    matrix: Floats
    kind: Ints
    advance: Floats

    def take(self, which: Any) -> "Characters":
        """Those of a mask, or of numbers."""
        return Characters(
            self.code[which],
            self.origin[which],
            self.box[which],
            self.thing[which],
            self.matrix[which],
            self.kind[which],
            self.advance[which],
        )


def characters(text_page: Any, names: Callable[[], Names]) -> Characters:
    """The characters of a page in PDFium's order; `names` gives the meanings of its fonts' codes when asked."""
    import pypdfium2.raw as pdfium

    n = max(0, pdfium.FPDFText_CountChars(text_page))
    origin, box, thing = asker().places(text_page, n)
    code, empty = _codes(text_page, n), np.zeros(n)
    if not n:
        return Characters(code, origin, box, thing, np.zeros((n, 5)), np.zeros(n, np.int64), empty)
    first = np.flatnonzero(np.concatenate([[True], thing[1:] != thing[:-1]]))
    times = np.diff(np.append(first, n))
    of_object, address_of_font = asker().objects(text_page, first, thing)
    matrix = np.repeat(of_object, times, axis=0)
    shared = _share_place(origin, thing)
    _set_apart(origin, box, shared, matrix)
    addresses, begins, font = np.unique(address_of_font, return_index=True, return_inverse=True)
    fonts = [_Font(_font(text_page, int(first[i])), int(at)) for at, i in zip(addresses, begins, strict=True)]
    keys = np.repeat(font, times) << 32 | code
    one_of_each, samples, kind = np.unique(keys, return_index=True, return_inverse=True)
    of_kind = (one_of_each >> 32).tolist()
    advance = np.array([fonts[f].advance(c) for f, c in zip(of_kind, code[samples].tolist(), strict=True)])
    found = Characters(code, origin, box, thing, matrix, kind, np.where(shared, 0, advance[kind]))
    misread = bool(_MISREAD.search("".join(map(chr, code.tolist()))))
    meanings: list[str | None] = [
        _meaning(text_page, i, fonts[f].name, c, names, misread=misread)
        for i, f, c in zip(samples.tolist(), of_kind, code[samples].tolist(), strict=True)
    ]
    return _spelled(found, kind, meanings)


@dataclass(frozen=True, slots=True)
class _Font:
    """A font as PDFium has it, by its address; 0 where there is none."""

    name: str
    address: int

    def advance(self, code: int) -> float:
        """How wide the file says a character is, in the font's size; 0 where that is not known."""
        import pypdfium2.raw as pdfium

        if not self.address:
            return 0.0
        width = ctypes.c_float()
        done = pdfium.FPDFFont_GetGlyphWidth(ctypes.cast(self.address, pdfium.FPDF_FONT), code, 1000.0, width)
        return width.value / 1000 if done else 0.0


def _share_place(origin: Floats, thing: Ints) -> Bools:
    """Which characters have the origin of a neighbour: letters of a ligature, or an ActualText's."""
    same = (thing[1:] == thing[:-1]) & (thing[1:] != 0) & (np.diff(origin, axis=0) == 0).all(axis=1)
    shared: Bools = np.append(same, False) | np.append(False, same)
    return shared


def _set_apart(origin: Floats, box: Floats, shared: Bools, matrix: Floats) -> None:
    """Give characters of one origin that of their own box: an ActualText's, which stand in for other glyphs."""
    one = shared[1:] & shared[:-1] & (np.diff(origin, axis=0) == 0).all(axis=1)
    one &= (np.diff(box, axis=0) != 0).any(axis=1)
    own = np.flatnonzero(np.append(one, False) | np.append(False, one))
    a, b = matrix[own, 0], matrix[own, 1]
    upright = np.abs(a) >= np.abs(b)
    origin[own, 0] = np.where(upright, np.where(a >= 0, box[own, 0], box[own, 2]), origin[own, 0])
    origin[own, 1] = np.where(upright, origin[own, 1], np.where(b >= 0, box[own, 1], box[own, 3]))


def _spelled(found: Characters, kind: Ints, meanings: list[str | None]) -> Characters:
    """The characters with what those of some kinds mean: letters of one glyph have one place."""
    if not any(letters is not None for letters in meanings):
        return found
    length = np.array([max(1, len(letters or "")) for letters in meanings])
    times = length[kind]
    out = found.take(np.repeat(np.arange(len(kind)), times))
    starts = np.cumsum(times) - times
    for number, letters in enumerate(meanings):
        if letters is not None:
            at = starts[kind == number]
            for i, code in enumerate(map(ord, letters or chr(UNKNOWN))):
                out.code[at + i] = code
    return out


def _meaning(
    text_page: Any, i: int, font: str, code: int, names: Callable[[], Names], *, misread: bool
) -> str | None:
    """What a glyph stands for; "" for nothing to read, None where its code says it as far as we know."""
    if function("FPDFText_HasUnicodeMapError")(address(text_page.raw), i) != 1:
        if not misread or code < 0x80 or font != bare(font):  # of a simple font PDFium gives the bare name
            return None
        return names().get(font, {}).get(MISREAD + code)
    if is_tex(font):
        return meaning(font, code)
    return names().get(bare(font), {}).get(code) or None


def _font(text_page: Any, i: int) -> str:
    """The name of a character's font."""
    import pypdfium2.raw as pdfium

    name, flags = ctypes.create_string_buffer(_LONGEST_NAME), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text_page, i, name, _LONGEST_NAME, flags)
    return name.value.decode("latin-1")


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
