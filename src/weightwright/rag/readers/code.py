"""Source code: its lines, as they are; definitions that fit stay whole."""

import re

from weightwright.ports import Block, Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import decode
from weightwright.rag.readers.text import without_data
from weightwright.rag.settings import LoadSettings

_BLANK = re.compile(r"\n[ \t]*\n")


def read_code(data: bytes, _settings: LoadSettings) -> Content:
    """The text with a block from one unindented line to the next blank line before another."""
    text = without_data(decode(data)).expandtabs(4)
    return Content(text, "code", places=(Place(0, "", lines=1),), blocks=tuple(_definitions(text)))


def _definitions(text: str) -> list[Block]:
    starts = [0]
    for gap in _BLANK.finditer(text):
        following = re.compile(r"\n*").match(text, gap.end())
        at = following.end() if following else gap.end()
        if at < len(text) and not text[at].isspace() and text[at] not in "})]":
            starts.append(at)
    ends = [*starts[1:], len(text)]
    return [
        Block("code", start, start + len(text[start:end].rstrip()))
        for start, end in zip(starts, ends, strict=True)
        if text[start:end].strip()
    ]
