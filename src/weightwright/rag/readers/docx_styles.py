"""What the styles and lists of a Word document say: levels of headings, hidden text, numbers of items."""

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.numerals import numeral
from weightwright.rag.readers.package import attribute, child, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_DEEPEST = 20  # styles that are based on others
_HEADING_NAME = re.compile(r"heading ([1-9])")


def is_on(element: "Element | None") -> bool:
    """Whether a switch is there and not turned off."""
    return element is not None and (attribute(element, "val") or "1").lower() not in (
        "0",
        "false",
        "off",
        "none",
    )


class Styles:
    """The styles by their ids."""

    def __init__(self, root: "Element | None") -> None:
        self._styles = {
            attribute(style, "styleId"): style
            for style in (root if root is not None else ())
            if local(style) == "style"
        }

    def level(self, style: str | None, properties: "Element | None") -> int:
        """A heading's level from 1; 0 for text."""
        own = attribute(child(properties, "outlineLvl"), "val")
        if own is not None:
            return int(own) + 1 if own.isdecimal() and int(own) < 9 else 0
        for element in self._chain(style):
            level = attribute(child(element, "pPr", "outlineLvl"), "val")
            if level is not None:
                return int(level) + 1 if level.isdecimal() and int(level) < 9 else 0
            named = _HEADING_NAME.fullmatch((attribute(child(element, "name"), "val") or "").lower())
            if named:
                return int(named[1])
        return 0

    def is_title(self, style: str | None) -> bool:
        """Whether a paragraph is the document's title."""
        return any((attribute(child(s, "name"), "val") or "").lower() == "title" for s in self._chain(style))

    def is_hidden(self, style: str | None) -> bool:
        """Whether text in this style is hidden."""
        found = (child(element, "rPr", "vanish") for element in self._chain(style))
        return is_on(next((element for element in found if element is not None), None))

    def position(self, style: str | None) -> str | None:
        """`superscript` or `subscript` where a character style raises or lowers its text."""
        found = (attribute(child(element, "rPr", "vertAlign"), "val") for element in self._chain(style))
        return next((position for position in found if position), None)

    def numbering(self, style: str | None) -> "Element | None":
        """The list that paragraphs of a style belong to."""
        found = (child(element, "pPr", "numPr") for element in self._chain(style))
        return next((element for element in found if element is not None), None)

    def _chain(self, style: str | None) -> "list[Element]":
        """A style and those that it is based on."""
        chain: list[Element] = []
        while style in self._styles and len(chain) < _DEEPEST:
            chain.append(self._styles[style])
            style = attribute(child(chain[-1], "basedOn"), "val")
        return chain


class Numbering:
    """Counts the items of lists."""

    def __init__(self, root: "Element | None", styles: Styles) -> None:
        self._styles = styles
        parts = list(root) if root is not None else []
        self._abstract = {attribute(e, "abstractNumId"): e for e in parts if local(e) == "abstractNum"}
        self._lists = {attribute(e, "numId"): e for e in parts if local(e) == "num"}
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        self._begun: set[tuple[str | None, int]] = set()  # levels of lists that have an item

    def next(self, properties: "Element | None", style: str | None) -> str:
        """What stands before the next item: `2.1`, `(a)`, `-`; "" where the paragraph is none."""
        own, of_style = child(properties, "numPr"), self._styles.numbering(style)
        list_id = attribute(child(own, "numId"), "val") or attribute(child(of_style, "numId"), "val")
        given = self._lists.get(list_id)
        if given is None or list_id == "0":
            return ""
        abstract_id = attribute(child(given, "abstractNumId"), "val")
        levels = self._levels(given, abstract_id)
        depth = attribute(child(own, "ilvl"), "val") or attribute(child(of_style, "ilvl"), "val")
        number = _whole(depth, _of_style(levels, style))
        level = levels.get(number)
        if level is None:
            return ""
        if attribute(child(level, "numFmt"), "val") == "bullet":
            return "-"
        counts = self._counts[abstract_id or ""]
        first = _restart(given, number) if (list_id, number) not in self._begun else None
        self._begun.add((list_id, number))
        counts[number] = first if first is not None else counts.get(number, _start(level) - 1) + 1
        for deeper in [
            other for other in counts if other > number and _begins_anew(levels.get(other), number)
        ]:
            del counts[deeper]
        pattern, legal = attribute(child(level, "lvlText"), "val") or "", is_on(child(level, "isLgl"))
        shown = re.sub(
            r"%([1-9])", lambda match: self._part(int(match[1]) - 1, counts, levels, legal=legal), pattern
        ).strip()
        is_empty = "%" in pattern and not any(map(str.isalnum, shown))  # all of its numbers are of no form
        return "" if is_empty else shown

    @staticmethod
    def _part(depth: int, counts: dict[int, int], levels: "dict[int, Element]", *, legal: bool) -> str:
        level = levels.get(depth)
        if level is None:
            return ""
        count = counts.get(depth, _start(level))
        form = attribute(child(level, "numFmt"), "val") or "decimal"
        return numeral(count, "decimal" if legal and form != "decimalZero" else form)

    def _levels(self, given: "Element", abstract_id: str | None) -> "dict[int, Element]":
        abstract = self._abstract.get(abstract_id)
        linked = attribute(child(abstract, "numStyleLink"), "val")
        if linked:  # the levels are those of the list that a style names
            other = self._lists.get(attribute(child(self._styles.numbering(linked), "numId"), "val"))
            abstract = self._abstract.get(attribute(child(other, "abstractNumId"), "val"))
        found = list(abstract) if abstract is not None else []
        levels = {_whole(attribute(e, "ilvl"), 0): e for e in found if local(e) == "lvl"}
        for override in given:
            level = child(override, "lvl") if local(override) == "lvlOverride" else None
            if level is not None:
                levels[_whole(attribute(override, "ilvl"), 0)] = level
        return levels


def _of_style(levels: "dict[int, Element]", style: str | None) -> int:
    """The level that belongs to a style."""
    found = (number for number, level in levels.items() if attribute(child(level, "pStyle"), "val") == style)
    return next(found, 0) if style else 0


def _begins_anew(level: "Element | None", after: int) -> bool:
    """Whether a level counts anew behind an item of a higher one."""
    value = attribute(child(level, "lvlRestart"), "val")
    return value is None or after < _whole(value, 0)


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() else otherwise


def _restart(given: "Element", depth: int) -> int | None:
    """Where a list begins that counts anew with the levels of another."""
    for override in given:
        if local(override) == "lvlOverride" and attribute(override, "ilvl") == str(depth):
            value = attribute(child(override, "startOverride"), "val") or ""
            return int(value) if value.isdecimal() else None
    return None


def _start(level: "Element") -> int:
    return _whole(attribute(child(level, "start"), "val"), 1)
