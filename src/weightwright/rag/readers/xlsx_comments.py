"""Comments on cells of Excel: notes, and conversations with who said what."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.package import Package, attribute, child, descendants
from weightwright.rag.readers.xlsx_texts import rich

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_FOR_OLDER = re.compile(r"\[[^\]\n]*\]\s.*?https?://go\.microsoft\.com/\S*\s+", re.DOTALL)


def comments(
    package: Package, related: dict[str, tuple[str, str]], people: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Cells and what is said of each; `people`: names by ids."""
    parts = [(kind, package.xml(target)) for kind, target in related.values()]
    talks = [root for kind, root in parts if kind == "threadedComment" and root is not None]
    told: set[str] = set()
    for talk in (talk for root in talks for talk in descendants(root, "threadedComment")):
        cell, who = attribute(talk, "ref") or "", people.get(attribute(talk, "personId") or "", "")
        text = child(talk, "text")
        told.add(cell)
        yield cell, f"{who}: {_said(text)}" if who else _said(text)
    for kind, root in parts:
        for comment in descendants(root, "comment") if kind == "comments" and root is not None else ():
            cell, text = attribute(comment, "ref") or "", child(comment, "text")
            if cell not in told and text is not None:  # else the same for older programs
                yield cell, _FOR_OLDER.sub("", rich(text))


def people(package: Package, related: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Names of those who comment, by their ids."""
    roots = [package.xml(target) for kind, target in related.values() if kind == "person"]
    found = [person for root in roots if root is not None for person in descendants(root, "person")]
    return {attribute(person, "id") or "": attribute(person, "displayName") or "" for person in found}


def _said(text: "Element | None") -> str:
    return text.text or "" if text is not None else ""
