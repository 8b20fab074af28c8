"""What a browser does not show of a page, and what of it is no content."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from weightwright.rag.readers.html_css import DECIDED, LIST_STYLES, declared, rules
from weightwright.rag.readers.html_media import applies

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_NAMES = """
head script style noscript template svg iframe canvas audio video object embed map nav select datalist input textarea
meter progress del s strike rp noframes noembed param track source ix:header ix:hidden title
"""
_UNSEEN = frozenset(_NAMES.split())
_ROLES = frozenset(("navigation", "menu", "menubar", "search"))
_BESIDE_MAIN = 'header, footer, aside, [role="banner"], [role="contentinfo"], [role="complementary"]'
_MAY_HIDE = "[role], [popover], [hidden], [style], [aria-hidden], dialog"
_MOST_VISITS = 20_000_000  # elements that all selectors together look at
_MOST_RULES, _LEAST_RULES = 3000, 50
_NO_SIZE = re.compile(r"font-size\s*:\s*0(?:px|pt|em|rem|%)?\s*(?:;|!|$)", re.IGNORECASE)
_OF_BLOCKS = frozenset(("flex", "grid", "inline-flex", "inline-grid"))
_NO_LENGTH = "nav, script, style, noscript, template, svg, select, textarea, [role=navigation]"
_LEAST_MAIN = 0.5  # share of the page's text that its <main> holds where the rest is left out


class Shown:
    """Says of an element of one page whether it is left out with all that is in it, and how it is laid out."""

    def __init__(self, page: "LexborHTMLParser", sheets: Mapping[str, str] | None = None) -> None:
        self._decided = _decided_by_rules(page, sheets or {})
        for node in page.css("[style]"):
            for name, (value, important) in declared(node.attributes.get("style") or "").items():
                values = self._decided[name]
                if important or not values.get(node.mem_id, ("", False))[1]:
                    values[node.mem_id] = (value, important)
        self._visible = _above_visible(page, self._decided["visibility"])
        self._beside = _beside_main(page)
        self._asked = {node.mem_id for node in page.css(_MAY_HIDE)}.union(*self._decided.values())
        flexible = self._decided["display"].items()
        self._of_blocks = {node for node, (value, _) in flexible if value in _OF_BLOCKS}

    def hides(self, node: "LexborNode") -> bool:
        """Whether an element is not shown, or is navigation or an input field."""
        if node.tag in _UNSEEN or node.mem_id in self._beside:
            return True
        if node.mem_id not in self._asked:
            return False
        if node.tag in ("html", "body"):  # a style that hides the whole page is there until a script has come
            return False
        attributes = node.attributes
        if attributes.get("aria-hidden") == "true" and _is_said_as_math(node):
            return True
        if (attributes.get("role") or "").lower() in _ROLES or "popover" in attributes:
            return True
        if node.tag == "dialog" and "open" not in attributes:
            return True
        display = self._value(node, "display")
        if display == "none":
            return True
        if not display and "hidden" in attributes and attributes["hidden"] != "until-found":
            return True
        if _is_nothing(self._value(node, "opacity")) or _is_tiny(node):
            return True
        if self._value(node, "text-decoration") == "line-through":  # deleted
            return True
        if self._value(node, "content-visibility") == "hidden":
            return True
        seen = self._value(node, "visibility")
        return seen in ("hidden", "collapse") and node.mem_id not in self._visible

    def display(self, node: "LexborNode") -> str:
        """`block`, `inline`, `inline-block`, or nothing where no style says another than the element's own."""
        if self._of_blocks:
            parent = node.parent
            if parent is not None and parent.mem_id in self._of_blocks:
                return "block"
        if node.mem_id not in self._asked:
            return ""
        if self._value(node, "float") in ("left", "right"):
            return "block"
        if self._value(node, "position") in ("absolute", "fixed"):
            return "block"
        display = self._value(node, "display")
        if display in ("", "initial", "unset", "revert", "revert-layer", "inherit"):
            return ""
        if display in ("inline", "contents"):
            return "inline"
        return "inline-block" if display.startswith(("inline", "ruby")) else "block"

    def raised(self, node: "LexborNode") -> str:
        """`super` or `sub` where a style raises or lowers the text."""
        value = self._value(node, "vertical-align")
        return value if value in ("super", "sub") else ""

    def numerals(self, node: "LexborNode") -> str | None:
        """The form of a list's numbers where a style says it: `a`, `I`, `none`."""
        return LIST_STYLES.get(self._value(node, "list-style-type"))

    def _value(self, node: "LexborNode", name: str) -> str:
        found = self._decided[name].get(node.mem_id)
        return found[0] if found else ""


def _is_said_as_math(node: "LexborNode") -> bool:
    """Whether a formula that is drawn with letters stands beside itself in MathML (KaTeX, MathJax)."""
    parent = node.parent
    return parent is not None and parent.css_first("math") is not None and node.css_first("math") is None


def _is_nothing(opacity: str) -> bool:
    return re.fullmatch(r"[+]?0*\.?0*%?", opacity or "1") is not None


def _is_tiny(node: "LexborNode") -> bool:
    """Whether letters have no size; nothing is said of elements in it that have one of their own."""
    style = node.attributes.get("style")
    if not style or not _NO_SIZE.search(style):
        return False
    return all(inner.mem_id == node.mem_id for inner in node.css('[style*="font-size"]'))


def _decided_by_rules(
    page: "LexborHTMLParser", sheets: Mapping[str, str]
) -> dict[str, dict[int, tuple[str, bool]]]:
    """What the page's style sheets say of its elements: property → element → value, whether it is important."""
    from selectolax.lexbor import SelectolaxError

    decided: dict[str, dict[int, tuple[str, bool]]] = {name: {} for name in DECIDED}
    found = [rule for sheet in _style_sheets(page, sheets) for rule in rules(sheet)]
    if not found:
        return decided
    nodes = len(page.css("*"))
    found = found[: max(_LEAST_RULES, min(_MOST_RULES, _MOST_VISITS // (nodes + 1)))]
    matched: dict[str, list[int]] = {}
    for selector in {rule.selector for rule in found}:
        try:
            matched[selector] = [node.mem_id for node in page.css(selector)]
        except SelectolaxError:  # a selector that is none; browsers pass over its rule, too
            matched[selector] = []
    for rule in sorted(found, key=lambda rule: (rule.important, rule.specificity)):
        values = decided[rule.property]
        for node in matched[rule.selector]:
            values[node] = (rule.value, rule.important)
    return decided


def _style_sheets(page: "LexborHTMLParser", sheets: Mapping[str, str]) -> Iterator[str]:
    """The page's own style sheets and those of its links that are at hand, in their order."""
    for node in page.css("style, link"):
        attributes = node.attributes
        if not applies(attributes.get("media") or ""):
            continue
        if node.tag == "style":
            yield node.text()
        elif is_style_sheet(attributes.get("rel") or "") and (attributes.get("href") or "") in sheets:
            yield sheets[attributes["href"] or ""]


def is_style_sheet(rel: str) -> bool:
    """Whether a link of this `rel` is a style sheet that applies without being chosen."""
    names = rel.lower().split()
    return "stylesheet" in names and "alternate" not in names


def _above_visible(page: "LexborHTMLParser", visibility: Mapping[int, tuple[str, bool]]) -> set[int]:
    """Elements in which one is visible again."""
    if not any(value in ("hidden", "collapse") for value, _ in visibility.values()):
        return set()
    above: set[int] = set()
    for node in page.css("*"):
        if visibility.get(node.mem_id, ("",))[0] == "visible":
            parent = node.parent
            while parent is not None and parent.mem_id not in above:
                above.add(parent.mem_id)
                parent = parent.parent
    return above


def _beside_main(page: "LexborHTMLParser") -> set[int]:
    """Header, footer and asides of a page that says which part of it is its main one."""
    mains = _each(page.css('main, [role="main"]'))
    if len(mains) != 1 or page.body is None:
        return set()
    main = mains[0]
    if _length(main) < _LEAST_MAIN * _length(page.body):
        return set()
    inside = {node.mem_id for node in main.css(_BESIDE_MAIN)}
    above = set()
    parent = main.parent
    while parent is not None:
        above.add(parent.mem_id)
        parent = parent.parent
    return {node.mem_id for node in page.css(_BESIDE_MAIN)} - inside - above


def _each(nodes: "list[LexborNode]") -> "list[LexborNode]":
    """Each node once: one that two selectors of a list match is found twice."""
    return list({node.mem_id: node for node in nodes}.values())


def _length(node: "LexborNode") -> int:
    """Characters of text, without navigation, scripts and what else is never shown."""
    left_out = sum(
        len(inner.text())
        for inner in _each(node.css(_NO_LENGTH))
        if inner.mem_id != node.mem_id and not _is_in_one(inner, node)
    )
    return len(node.text()) - left_out


def _is_in_one(inner: "LexborNode", root: "LexborNode") -> bool:
    """Whether an element that is left out lies in another such one."""
    parent = inner.parent
    while parent is not None and parent.mem_id != root.mem_id:
        if parent.tag in _UNSEEN or (parent.attributes.get("role") or "") == "navigation":
            return True
        parent = parent.parent
    return False
