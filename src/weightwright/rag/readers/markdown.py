"""Markdown: what is a heading, a table or code is what CommonMark says (markdown-it-py)."""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from weightwright.ports import Block, Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import decode
from weightwright.rag.readers.text import without_data
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)|\+\+\+[ \t]*\n(?P<toml>.*?)^\+\+\+[ \t]*(?:\n|\Z))",
    re.DOTALL | re.MULTILINE,
)


def read_markdown(data: bytes, _settings: LoadSettings) -> Content:
    """The text without its front matter; the title is the front matter's or the first heading's."""
    return markdown_content(decode(data), "markdown")


def markdown_content(source: str, format_: str) -> Content:
    """Markdown that is decoded."""
    front, begin = front_matter(source)
    text = without_comments(without_data(source[begin:]))
    blocks = markdown_blocks(text)
    title = front.get("title")
    if not isinstance(title, str) or not title.strip():
        title = next((block.words for block in blocks if block.kind == "heading"), "")
    line = source.count("\n", 0, begin) + 1
    return Content(text, format_, " ".join(title.split()), places=(Place(0, "", line),), blocks=blocks)


def front_matter(text: str) -> tuple[dict[str, Any], int]:
    """The keys and values before a Markdown text, and where the text begins."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}, 0
    values = _toml(found["toml"]) if found["yaml"] is None else _yaml(found["yaml"])
    return (values, found.end()) if values is not None else ({}, 0)


def without_comments(text: str) -> str:
    """The text without HTML comments that stand for themselves; its lines keep their numbers."""
    if "<!--" not in text:
        return text
    lines = text.split("\n")
    for token in _parser().parse(text):
        if (
            token.type == "html_block"
            and token.map
            and re.fullmatch(r"\s*<!--.*?-->\s*", token.content, re.DOTALL)
        ):
            first, last = token.map
            lines[first:last] = [""] * (last - first)
    return "\n".join(lines)


def markdown_blocks(text: str, offset: int = 0) -> tuple[Block, ...]:
    """The headings, tables and code of Markdown; `offset` is added to each place.

    Headings in quotations and lists are none of the document's.
    """
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    ends = [*(start - 1 for start in starts[1:]), len(text)]
    tokens = _parser().parse(text)
    blocks: list[Block] = []
    for number, token in enumerate(tokens):
        kind = _KINDS.get(token.type)
        if kind is None or token.map is None or (kind == "heading" and token.level):
            continue
        first, last = token.map[0], _last_line(text, token, starts, ends)
        words, level = "", 0
        if kind == "heading":
            words, level = _shown(tokens[number + 1].content), int(token.tag[1:])
        elif kind == "table":
            words = text[starts[first] : ends[first]].strip()
        if kind != "heading" or words:
            start = (
                starts[first]
                + len(text[starts[first] : ends[first]])
                - len(text[starts[first] : ends[first]].lstrip())
            )
            blocks.append(Block(kind, offset + start, offset + ends[last], level, words))
    return tuple(blocks)


def _shown(heading: str) -> str:
    """A heading's words without the marks of links, images, code and emphasis, and without its name (`{#id}`)."""
    inline = _inline_parser().parseInline(heading)[0].children or []
    parts = [
        " " if token.type.endswith("break") else token.content
        for token in inline
        if token.type != "html_inline"
    ]
    return " ".join(_NAMED.sub("", "".join(parts)).split()) or " ".join(heading.split())


_NAMED = re.compile(r"\s*\{[#.][^{}]*\}\s*$")
_KINDS: dict[str, Any] = {
    "heading_open": "heading",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
}


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable("inline")


@cache
def _inline_parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _last_line(text: str, token: "Token", starts: list[int], ends: list[int]) -> int:
    """The last line of a block that is not blank; markdown-it counts blank lines after some of them."""
    assert token.map is not None
    last = min(token.map[1], len(starts)) - 1
    while last > token.map[0] and not text[starts[last] : ends[last]].strip():
        last -= 1
    return last


def _yaml(text: str) -> dict[str, Any] | None:
    import yaml

    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        # not YAML after all, but lines of keys all the same
        is_keys = all(re.match(r"[\w-]+:|\s|#|$", line) for line in text.split("\n"))
        return {} if is_keys and text.strip() else None
    if values is None:
        return {}
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else None


def _toml(text: str) -> dict[str, Any] | None:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
