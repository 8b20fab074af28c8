"""What a browser does not show of a page, and what of it is no content."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_NAMES = """
head script style noscript template svg iframe canvas audio video object embed map nav select datalist input textarea
meter progress del s strike rp noframes noembed param track source ix:header ix:hidden title
"""
_UNSEEN = frozenset(_NAMES.split())
_ROLES = frozenset(("navigation", "menu", "menubar", "search"))
_BESIDE_MAIN = 'header, footer, aside, [role="banner"], [role="contentinfo"], [role="complementary"]'
_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|(?<![\w-])opacity\s*:\s*0(?:\.0*)?\s*(?:;|!|$)"
    r"|font-size\s*:\s*0(?:px|pt|em|rem|%)?\s*(?:;|!|$)|mso-hide\s*:\s*all",
    re.IGNORECASE,
)
_SHOWN = re.compile(r"display\s*:\s*(?!none)[a-z]", re.IGNORECASE)
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CSS_AT_BLOCK = re.compile(r"@[^{};]*(?:;|\{(?:[^{}]*\{[^{}]*\})*[^{}]*\})")
_CSS_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_MOST_RULES = 200
_LEAST_MAIN = 0.5  # share of the page's text that its <main> holds where the rest is left out


class Hidden:
    """Says of an element of one page whether it is left out with all that is in it."""

    def __init__(self, page: "LexborHTMLParser") -> None:
        self._by_rule = _hidden_by_rules(page)
        self._beside = _beside_main(page)

    def hides(self, node: "LexborNode") -> bool:
        """Whether an element is not shown, or is navigation or an input field."""
        if node.tag in _UNSEEN or node.mem_id in self._by_rule or node.mem_id in self._beside:
            return True
        attributes = node.attributes
        if not attributes:
            return bool(node.tag == "dialog")
        if "hidden" in attributes and attributes["hidden"] != "until-found":
            return True
        if (attributes.get("role") or "").lower() in _ROLES or "popover" in attributes:
            return True
        if node.tag == "dialog" and "open" not in attributes:
            return True
        return bool(_HIDING.search(attributes.get("style") or ""))


def _hidden_by_rules(page: "LexborHTMLParser") -> set[int]:
    """The elements that the page's own style sheets hide; a later rule that shows them again wins."""
    from selectolax.lexbor import SelectolaxError

    hidden: set[int] = set()
    sheets = "\n".join(style.text() for style in page.css("style"))
    rules = _CSS_RULE.findall(_CSS_AT_BLOCK.sub("", _CSS_COMMENT.sub("", sheets)))
    deciding = [rule for rule in rules if _HIDING.search(rule[1]) or _SHOWN.search(rule[1])]
    if not any(_HIDING.search(declarations) for _, declarations in deciding):
        return hidden
    for selectors, declarations in deciding[:_MOST_RULES]:
        if ":" in selectors:  # what is pointed at, printed or made up by the style sheet
            continue
        try:
            named = {node.mem_id for node in page.css(selectors.strip())}
        except SelectolaxError:  # a selector that is none; browsers pass over its rule, too
            continue
        hidden = hidden | named if _HIDING.search(declarations) else hidden - named
    return hidden


def _beside_main(page: "LexborHTMLParser") -> set[int]:
    """Header, footer and asides of a page that says which part of it is its main one."""
    mains = page.css('main, [role="main"]')
    if len(mains) != 1 or page.body is None:
        return set()
    main = mains[0]
    if len(main.text()) < _LEAST_MAIN * len(page.body.text()):
        return set()
    inside = {node.mem_id for node in main.css(_BESIDE_MAIN)}
    above = set()
    parent = main.parent
    while parent is not None:
        above.add(parent.mem_id)
        parent = parent.parent
    return {node.mem_id for node in page.css(_BESIDE_MAIN)} - inside - above
