"""The words of RTF 1.9.1: tokens, character sets of fonts, and what control words stand for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weightwright.rag.readers.encoding import lenient

_TOKEN = re.compile(
    r"\\(?P<word>[A-Za-z]{1,32})(?P<number>-?\d{1,10})?[ ]?|\\'(?P<hex>[0-9A-Fa-f]{2})|\\(?P<symbol>[^A-Za-z])"
    r"|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)",
    re.DOTALL,
)
SIGNS = {
    "tab": "\t", "line": "\n", "lbr": "\n", "softline": "\n", "emdash": "—", "endash": "–", "bullet": "•",
    "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "emspace": " ", "enspace": " ", "qmspace": " ",
    "~": "\xa0",    "_": "-", "{": "{", "}": "}", "\\": "\\", "\n": "\n", "\r": "\n", "\t": "\t",
}  # fmt: skip
# groups whose text is not shown
_UNSEEN = """
pict objdata fldinst datafield colortbl listtable listoverridetable rsidtbl revtbl filetbl themedata xmlnstbl sp
generator nonshppict nonesttables shprslt pn bkmkstart bkmkend atnid atndate atnref atnicn atntime ftnsep ftnsepc
aftnsep aftnsepc ftncn aftncn mmathPict falt panose objclass objname xe tc private1 template
"""
UNSEEN = frozenset(_UNSEEN.split())
# groups marked with \* that are known; others are not shown
_KNOWN = "annotation atnauthor shpinst shppict ud do moMath nesttableprops mmath"
KNOWN = frozenset(_KNOWN.split())
# groups in which only groups of their own say something
HOLDERS = frozenset(("shpinst", "do", "upr", "nesttableprops", "info"))
_HEADERS = "header headerl headerr headerf footer footerl footerr footerf"
HEADERS = frozenset(_HEADERS.split())
BOXES = frozenset(("shptxt", "dptxbxtext"))
FORMULA = {"mden": "/", "msup": "^", "msub": "_"}
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5hkscs",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
_PAGES = {936: "gb18030", 950: "big5hkscs", 65001: "utf-8", 10000: "mac_roman", 1361: "johab"}
_PAGES |= {
    n: f"cp{n}"
    for n in (437, 737, 775, 850, 852, 855, 857, 860, 861, 862, 863, 864, 865, 866, 869, 874, 932, 949)
}
_PAGES |= {n: f"cp{n}" for n in range(1250, 1259)}
SYMBOL_CHARSET = 2


@dataclass(frozen=True, slots=True)
class Token:
    """A control word or sign, a byte, a brace, or text."""

    kind: str
    text: str
    number: int | None = None


@dataclass(slots=True)
class Font:
    """A font's name and character set; -1: that of the file."""

    name: str = ""
    charset: int = -1
    page: str = ""


def tokens(source: str) -> Iterator[Token]:
    """The tokens of a file that was decoded as Latin-1; the bytes of `\\bin` are passed over."""
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            return
        at = found.end()
        kind = found.lastgroup
        if kind in ("number", "word"):
            number = found["number"]
            token = Token("word", found["word"], int(number) if number else None)
            if token.text == "bin":
                at += max(0, token.number or 0)
            yield token
        elif kind is not None:
            yield Token(kind, found[kind])


def code_page(number: int) -> str:
    """Python's codec for a Windows or DOS code page."""
    return _PAGES.get(number, "cp1252")


def decoded(data: bytes, font: Font | None, default: str) -> str:
    """Bytes in a font's character set."""
    codec = default
    if font is not None:
        codec = font.page or _CHARSETS.get(font.charset, default)
    return lenient(data, codec)
