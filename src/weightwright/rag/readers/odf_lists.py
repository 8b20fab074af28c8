"""Numbers of list items in OpenDocument texts (OpenDocument 1.3 Part 3, 5.3 and 16.30)."""

from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.numerals import numeral
from weightwright.rag.readers.package import attribute, descendants, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_MOST_SHOWN = 10  # levels in one number


class Lists:
    """Counts the items of the lists that are open."""

    def __init__(self, *roots: "Element | None") -> None:
        self._levels: dict[str, dict[int, Element]] = {}
        for root in roots:
            for style in descendants(root, "list-style") if root is not None else ():
                levels = {_whole(attribute(level, "level"), 1): level for level in style}
                self._levels[attribute(style, "name") or ""] = levels
        outlines = (
            style for root in roots if root is not None for style in descendants(root, "outline-style")
        )
        self._outline = {_whole(attribute(level, "level"), 1): level for style in outlines for level in style}
        self._headings: dict[int, int] = {}  # by level, of the last heading
        self._styles: list[str] = []
        self._counts: list[int | None] = []  # of each open list the number of its last item
        self._ended: dict[tuple[str, int], int | None] = {}  # by style or id, and depth

    def enter(self, element: "Element") -> None:
        """A list begins, in the item of another or by itself."""
        style = attribute(element, "style-name") or (self._styles[-1] if self._styles else "")
        self._styles.append(style)
        depth = len(self._styles)
        before = None
        if attribute(element, "continue-list"):
            before = self._ended.get((f"#{attribute(element, 'continue-list')}", depth))
        elif attribute(element, "continue-numbering") == "true":
            before = self._ended.get((style, depth))
        self._counts.append(before)

    def leave(self, element: "Element") -> None:
        """The list that was entered last ends."""
        depth, style, count = len(self._styles), self._styles.pop(), self._counts.pop()
        self._ended[style, depth] = count
        self._ended[f"#{attribute(element, 'id')}", depth] = count

    def heading(self, element: "Element", depth: int) -> str:
        """The number of a heading that its document's outline gives it: `2.1 `."""
        level = self._outline.get(depth)
        if (
            level is None
            or not attribute(level, "num-format")
            or attribute(element, "is-list-header") == "true"
        ):
            return ""
        following = self._headings.get(depth, _whole(attribute(level, "start-value"), 1) - 1) + 1
        self._headings = {other: count for other, count in self._headings.items() if other < depth}
        self._headings[depth] = _whole(attribute(element, "start-value"), following)
        shown = min(_whole(attribute(level, "display-levels"), 1), depth, _MOST_SHOWN)
        parts = []
        for other in range(depth - shown + 1, depth + 1):
            form = attribute(self._outline.get(other), "num-format")
            parts += [numeral(self._headings.get(other, 1), form)] if form else []
        return (
            f"{attribute(level, 'num-prefix') or ''}{'.'.join(parts)}{attribute(level, 'num-suffix') or ''} "
        )

    def mark(self, item: "Element") -> str:
        """What stands before an item: `2. `, `(a) `, `- `; "" before a list's header."""
        if local(item) == "list-header":
            return ""
        level = self._level(len(self._styles))
        if level is None or local(level) != "list-level-style-number":
            return "- "
        last = self._counts[-1]
        following = _whole(attribute(level, "start-value"), 1) if last is None else last + 1
        self._counts[-1] = _whole(attribute(item, "start-value"), following)
        shown = min(_whole(attribute(level, "display-levels"), 1), len(self._styles), _MOST_SHOWN)
        depths = range(len(self._styles) - shown + 1, len(self._styles) + 1)
        parts = [part for part in map(self._number, depths) if part]
        number = ".".join(parts)
        return (
            f"{attribute(level, 'num-prefix') or ''}{number}{attribute(level, 'num-suffix') or ''} "
            if parts
            else "- "
        )

    def _number(self, depth: int) -> str:
        level, count = self._level(depth), self._counts[depth - 1]
        form = attribute(level, "num-format")
        return numeral(count, form) if form and count is not None else ""

    def _level(self, depth: int) -> "Element | None":
        return self._levels.get(self._styles[depth - 1], {}).get(depth)


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else otherwise
