"""Small questions to one element: the numbers of a list, the language of code, what an image stands for."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from weightwright.rag.readers.numerals import numeral

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_LANGUAGE = re.compile(r"\b(?:language|lang|highlight|brush:?)[-\s:]+([\w+#-]+)")
_LONG_TAG = re.compile(r"(<[A-Za-z][^\s<>/]*)[^<>]{2000}")  # 1,000 attributes are at least as long
_ATTRIBUTE = re.compile(r"[\s/]+[^\s=/>]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>]*))?")
_MOST_ATTRIBUTES = 1000
_NOTES = frozenset(("noteref", "doc-noteref", "footnote-ref", "footnote-reference"))
_NOTE_MARK = re.compile(r"\[?\d{1,3}\]?|[*†‡]{1,3}")
_PERMALINKS = frozenset(("¶", "#", "§", "🔗", ""))


def with_few_attributes(source: str) -> str:
    """The page with at most 1,000 attributes an element; the parser compares each with all that came before."""
    out, begin = [], 0
    for found in _LONG_TAG.finditer(source):
        if found.start() < begin:
            continue
        at = end = found.end(1)
        count = 0
        while (attribute := _ATTRIBUTE.match(source, at)) is not None:
            at, count = attribute.end(), count + 1
            end = at if count <= _MOST_ATTRIBUTES else end
        if count > _MOST_ATTRIBUTES:
            out.append(source[begin:end])
            begin = at
    return "".join((*out, source[begin:]))


def children(node: "LexborNode") -> "Iterator[LexborNode]":
    """The nodes directly under one."""
    child = node.child
    while child is not None:
        yield child
        child = child.next


def numbers(
    node: "LexborNode", styled: "Callable[[LexborNode], str | None]"
) -> "Callable[[LexborNode], str]":
    """Numbers the items of an `<ol>`: its start and direction, an item's own value, letters and Roman numerals.

    `styled` says the form of numbers that a style sheet gives an element.
    """
    items = sum(child.tag == "li" for child in children(node))
    step = -1 if "reversed" in node.attributes else 1
    number = _whole(node.attributes.get("start"), items if step < 0 else 1) - step
    kind = styled(node) or node.attributes.get("type") or "1"

    def mark(item: "LexborNode") -> str:
        nonlocal number
        number = _whole(item.attributes.get("value"), number + step)
        shown = (
            numeral(number, styled(item) or item.attributes.get("type") or kind)
            if number > 0
            else str(number)
        )
        return f"{shown}. " if shown else "- "

    return mark


def _whole(text: str | None, otherwise: int) -> int:
    found = re.match(r"\s*([+-]?\d{1,9})", text or "")
    return int(found[1]) if found else otherwise


def language(node: "LexborNode") -> str:
    """The language of code, as highlighters name it in a class."""
    code = node.css_first("code")
    for element in (node, code, node.parent, node.parent.parent if node.parent else None):
        found = _LANGUAGE.search((element.attributes.get("class") or "") if element is not None else "")
        if found and found[1] not in ("text", "default", "none", "plain"):
            return found[1]
    return ""


def is_permalink(node: "LexborNode") -> bool:
    """A heading's link to itself, which is shown when the mouse is over it."""
    classes = (node.attributes.get("class") or "").lower()
    named = "headerlink" in classes or "anchor" in classes or "permalink" in classes or "hash-link" in classes
    return named and node.text(strip=True) in _PERMALINKS


def is_note_mark(node: "LexborNode") -> bool:
    """A link to a note, which is known by its name or by what it looks like: `1`, `[2]`, `*`."""
    attributes = node.attributes
    named = " ".join(attributes.get(name) or "" for name in ("epub:type", "role", "class")).lower().split()
    if not _NOTES.isdisjoint(named):
        return True
    href = attributes.get("href") or ""
    return href.startswith("#") and len(href) > 1 and _NOTE_MARK.fullmatch(node.text(strip=True)) is not None


def formula(node: "LexborNode") -> str:
    """What an image of a formula stands for; other images have no text."""
    classes = (node.attributes.get("class") or "").lower()
    alt = node.attributes.get("alt") or ""
    return f" {alt} " if alt and ("math" in classes or "tex" in classes) else ""
