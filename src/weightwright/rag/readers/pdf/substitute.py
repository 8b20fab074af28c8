"""A font for Chinese, Japanese and Korean text whose own font neither the file nor the system has.

PDFium takes the boxes of such text from the font. Without one they are empty, and it drops what has no extent: all of
it where the text is written downwards or turned.
"""

import ctypes
import struct
from functools import cache
from io import BytesIO
from typing import Any

_CHARSETS = (128, 129, 134, 136)  # Japanese, Korean, simplified and traditional Chinese
_OURS = 1  # the handle of our font; PDFium's own ones are addresses
_EM, _ASCENT, _DESCENT = 1000, 880, -120
_FIRST, _LAST = 0x20, 0x2FFFF  # the characters that the font has


@cache
def offer_font() -> None:
    """Let PDFium ask us where the system has no font, once for this process."""
    import pypdfium2.raw as pdfium

    default = pdfium.FPDF_GetDefaultSystemFontInfo()
    system, kinds = default.contents, dict(pdfium.FPDF_SYSFONTINFO._fields_)

    def find(_: Any, weight: int, italic: int, charset: int, pitch: int, face: Any, exact: Any) -> Any:
        found = system.MapFont(default, weight, italic, charset, pitch, face, exact)
        return found or (_OURS if charset in _CHARSETS else None)

    def read(_: Any, font: Any, table: int, buffer: Any, size: int) -> int:
        if font != _OURS:
            return int(system.GetFontData(default, font, table, buffer, size))
        data = b"" if table else _square()
        if buffer and size >= len(data):
            ctypes.memmove(buffer, data, len(data))
        return len(data)

    def name(_: Any, font: Any, buffer: Any, size: int) -> int:
        return 0 if font == _OURS else int(system.GetFaceName(default, font, buffer, size))

    def charset_of(_: Any, font: Any) -> int:
        return _CHARSETS[0] if font == _OURS else int(system.GetFontCharset(default, font))

    def delete(_: Any, font: Any) -> None:
        if font != _OURS:
            system.DeleteFont(default, font)

    def enumerate_all(_: Any, mapper: Any) -> None:
        system.EnumFonts(default, mapper)

    offered = pdfium.FPDF_SYSFONTINFO(version=1)
    for field, function in (
        ("EnumFonts", enumerate_all), ("MapFont", find), ("GetFontData", read), ("GetFaceName", name),
        ("GetFontCharset", charset_of), ("DeleteFont", delete),
    ):  # fmt: skip
        setattr(offered, field, kinds[field](function))
    _kept().append(offered)
    pdfium.FPDF_SetSystemFontInfo(offered)


@cache
def _kept() -> list[Any]:
    """What PDFium has the address of, for as long as this process lives."""
    return []


@cache
def _square() -> bytes:
    """A TrueType font of one glyph, a square, for every character."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from fontTools.ttLib.tables.DefaultTable import DefaultTable

    pen = TTGlyphPen(None)
    for move, point in zip(
        (pen.moveTo, pen.lineTo, pen.lineTo, pen.lineTo),
        ((0, _DESCENT), (0, _ASCENT), (_EM, _ASCENT), (_EM, _DESCENT)), strict=True,
    ):  # fmt: skip
        move(point)
    pen.closePath()
    names = [".notdef", "square"]
    glyph = pen.glyph()
    builder = FontBuilder(_EM, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupGlyf(dict.fromkeys(names, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (_EM, 0)))
    builder.setupHorizontalHeader(ascent=_ASCENT, descent=_DESCENT)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular", "psName": "Square"})
    builder.setupPost()
    # one table of format 13 (many characters, one glyph) for platform 3 (Windows), encoding 10 (all of Unicode)
    characters = DefaultTable("cmap")
    characters.data = struct.pack(">HHHHL", 0, 1, 3, 10, 12) + struct.pack(
        ">HHLLLLLL", 13, 0, 28, 0, 1, _FIRST, _LAST, 1
    )
    builder.font["cmap"] = characters
    file = BytesIO()
    builder.save(file)
    return file.getvalue()
