"""What the glyphs of a font mean by the names that the file gives them.

PDFium knows the names of Adobe's list, but not those that are made of them: `f_i`, `T_h`, `one.oldstyle`. Then the
glyph has the Unicode of its code, mostly a control character, and "first" reads as "rst". PDFium does not tell the
names either; pypdf reads them.

PDFium also reads the letters of some TrueType fonts by Apple's table (MacRoman) where the file, and what is drawn,
follow Windows': "Durée" reads as "DurÈe".
"""

import logging
from collections.abc import Iterator
from io import BytesIO
from typing import Any

_SYMBOLIC = 1 << 2  # ISO 32000-1, table 123
_DEEPEST = 3  # forms within forms that are looked at
MISREAD = 1 << 21  # added to a letter of MacRoman: what it means where the font follows Windows' table
Names = dict[str, dict[int, str]]  # a font's name without the prefix of a subset → codes → what they mean


class GlyphNames:
    """The names in one file; it is parsed when they are first asked for."""

    def __init__(self, data: bytes, password: str) -> None:
        self._data = data
        self._password = password
        self._reader: Any = None
        self._pages: dict[int, Names] = {}

    def of_page(self, number: int) -> Names:
        """Of the fonts of a page, from 0; none where pypdf cannot read it."""
        from pypdf.errors import PyPdfError

        if number not in self._pages:
            try:
                self._pages = {number: self._read(number)}
            except (PyPdfError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
                self._pages = {number: {}}  # a broken file, of which PDFium makes more
        return self._pages[number]

    def _read(self, number: int) -> Names:
        from pypdf import PdfReader

        if self._reader is None:
            logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # a broken file is none of its business
            self._reader = PdfReader(BytesIO(self._data), strict=False, password=self._password or None)
        found: Names = {}
        for font in _fonts(self._reader.pages[number], _DEEPEST):
            meanings = dict(_differences(font)) | dict(_of_windows(font))
            known = found.setdefault(bare(str(font.get("/BaseFont", ""))[1:]), meanings)
            for code in known.keys() & meanings.keys():
                if known[code] != meanings[code]:
                    known[code] = ""  # two fonts of one name
            found[bare(str(font.get("/BaseFont", ""))[1:])] = meanings | known
        return found


def bare(font: str) -> str:
    """A font's name without the prefix of a subset, `ABCDEF+`."""
    prefix, plus, name = font.partition("+")
    return (name if plus and len(prefix) == 6 and prefix.isupper() else font).replace(" ", "")


def _fonts(holder: Any, depth: int) -> Iterator[Any]:
    """The fonts of a page's or form's resources."""
    resources = _value(holder, "/Resources")
    for font in (_value(resources, "/Font") or {}).values():
        yield font.get_object()
    if depth:
        for thing in (_value(resources, "/XObject") or {}).values():
            form = thing.get_object()
            if form.get("/Subtype") == "/Form" and "/Resources" in form:
                yield from _fonts(form, depth - 1)


def _value(holder: Any, key: str) -> Any:
    found = holder.get(key) if holder else None
    return found.get_object() if found is not None else None


def _of_windows(font: Any) -> Iterator[tuple[int, str]]:
    """What letters of MacRoman mean in a symbolic TrueType font without a map, in whose place Windows' are meant."""
    flags = int((_value(font, "/FontDescriptor") or {}).get("/Flags", 0))
    if font.get("/Subtype") != "/TrueType" or "/ToUnicode" in font or not flags & _SYMBOLIC:
        return
    if _value(font, "/Encoding") not in (None, "/WinAnsiEncoding"):
        return
    for byte in range(0x80, 0x100):
        code = bytes([byte])
        yield MISREAD + ord(code.decode("mac_roman")), code.decode("cp1252", "ignore")


def _differences(font: Any) -> Iterator[tuple[int, str]]:
    """Codes with what their names mean (ISO 32000-1, 9.6.6.1); names that mean nothing are left out."""
    from fontTools.agl import toUnicode

    encoding = _value(font, "/Encoding")
    code = 0
    for entry in _value(encoding, "/Differences") or () if hasattr(encoding, "get") else ():
        item = entry.get_object()
        if isinstance(item, str):
            meaning = toUnicode(str(item)[1:])
            if meaning:
                yield code, meaning
            code += 1
        else:
            code = int(item)
