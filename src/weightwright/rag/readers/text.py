"""Plain text: logs, notes and whatever has no reader of its own."""

import re

from weightwright.ports import Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import clean, decode
from weightwright.rag.settings import LoadSettings

__all__ = ["clean", "decode", "read_plain", "without_data"]

_DATA_URI = re.compile(r"(data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,)[\w+/=%-]{24,}", re.IGNORECASE)
_LONG_RUN = re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]{200,}={0,2}")
_BLOCK = re.compile(
    r"^(?P<indent>[ \t>]*)(?P<line>[A-Za-z0-9+/]{56,80})\n(?:(?P=indent)[A-Za-z0-9+/]{56,80}\n)+"
    r"(?:(?P=indent)[A-Za-z0-9+/]{1,80}={0,2}$)?",
    re.MULTILINE,
)
_UUENCODED = re.compile(r"^begin [0-7]{3} [^\n]+\n(?:[!-`][ -`]{0,84}\n){1,}(?:`?\n)?end$", re.MULTILINE)
_LEAST_KINDS = 32  # different characters; words, hexadecimal digits and sequences of bases have fewer


def read_plain(data: bytes, _settings: LoadSettings) -> Content:
    """Any text file; lines are its places."""
    return Content(without_data(decode(data)), "text", places=(Place(0, "", lines=1),))


def without_data(text: str) -> str:
    """Text without base64 and uuencoded files: data URIs, long runs and blocks say how much was left out.

    Lines keep their numbers.
    """
    text = _DATA_URI.sub(lambda match: f"{match[1]}…", text)
    text = _BLOCK.sub(_cut, text)
    if "begin " in text:
        text = _UUENCODED.sub(_cut_file, text)
    return _LONG_RUN.sub(_cut, text)


def _cut_file(match: re.Match[str]) -> str:
    return f"[uuencoded, {len(match[0])} characters left out]" + "\n" * match[0].count("\n")


def _cut(match: re.Match[str]) -> str:
    found = match[0]
    is_data = len(set(found)) >= _LEAST_KINDS and re.search(r"[a-z]", found) and re.search(r"[A-Z]", found)
    if not is_data or not re.search(r"\d", found):
        return found
    lines = found.count("\n")
    indent = match.groupdict().get("indent") or ""
    return f"{indent}[base64, {len(found)} characters left out]" + "\n" * lines
