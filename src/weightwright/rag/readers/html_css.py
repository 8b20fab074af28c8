"""The rules of a style sheet that decide what is shown and what stands apart (CSS Cascade 4, Selectors 4)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from weightwright.rag.readers.html_media import applies

LIST_STYLES = {  # → the form of numerals
    "none": "none", "decimal": "1", "decimal-leading-zero": "decimalZero", "lower-alpha": "a", "lower-latin": "a",
    "upper-alpha": "A", "upper-latin": "A", "lower-roman": "i", "upper-roman": "I", "cjk-ideographic": "chinese",
    "simp-chinese-informal": "chinese", "trad-chinese-informal": "chinese", "cjk-decimal": "1",
}  # fmt: skip
PROPERTIES = ("display", "visibility", "content-visibility", "opacity", "float", "position", "vertical-align")
_OF_WORDS = {  # a property → the one that its words are looked for, and those words
    "text-decoration": ("text-decoration", ("line-through", "none")),
    "text-decoration-line": ("text-decoration", ("line-through", "none")),
    "list-style": ("list-style-type", tuple(LIST_STYLES)),
    "list-style-type": ("list-style-type", tuple(LIST_STYLES)),
}
_NAMED = (*PROPERTIES, *_OF_WORDS)
DECIDED = (*PROPERTIES, "text-decoration", "list-style-type")
_DYNAMIC = ("hover|focus|focus-within|focus-visible|active|target|visited|fullscreen|popover-open|playing"
            "|user-invalid|user-valid|modal")  # fmt: skip
_NOT_DYNAMIC = re.compile(rf":not\(\s*:(?:{_DYNAMIC})\s*\)", re.IGNORECASE)
_NEVER = re.compile(rf"::|:(?:{_DYNAMIC}|before|after|first-line|first-letter|-\w+)(?![\w-])", re.IGNORECASE)
_MOVING = ("transition", "transform", "animation", "will-change", "translate", "scale")
_MOST_DEEP = 8  # media queries in media queries


@dataclass(frozen=True, slots=True)
class Rule:
    """One selector, and what it says of one property; later and more specific ones win, important ones first."""

    selector: str
    specificity: tuple[int, int, int]
    property: str
    value: str
    important: bool


@lru_cache(maxsize=64)
def rules(sheet: str) -> tuple[Rule, ...]:
    """A style sheet's deciding rules in their order, on a screen 1280 pixels wide that nothing points at."""
    import tinycss2

    try:
        nodes = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
        return tuple(_of(nodes, 0))
    except RecursionError:  # brackets without end; the page is read without this sheet
        return ()


@lru_cache(maxsize=4096)
def declared(style: str) -> dict[str, tuple[str, bool]]:
    """What a `style` attribute says: a deciding property → its value, whether it is important."""
    import tinycss2

    try:
        return _decided(tinycss2.parse_blocks_contents(style, skip_comments=True, skip_whitespace=True))
    except RecursionError:
        return {}


def _of(nodes: list[Any], depth: int) -> Iterator[Rule]:
    import tinycss2

    for node in nodes:
        if node.type == "at-rule" and node.content is not None and depth < _MOST_DEEP:
            if _is_taken(node):
                inner = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
                yield from _of(inner, depth + 1)
        elif node.type == "qualified-rule" and _may_decide(node.content):
            contents = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
            decided = _decided(contents)
            for selector in _selectors(node.prelude) if decided else ():
                specificity = _specificity(selector)
                text = _NOT_DYNAMIC.sub("", tinycss2.serialize(selector)).strip()
                if not text or _NEVER.search(text):
                    continue
                for name, (value, important) in decided.items():
                    yield Rule(text, specificity, name, value, important)


def _is_taken(node: Any) -> bool:
    import tinycss2

    prelude = tinycss2.serialize(node.prelude).strip().lower()
    if node.lower_at_keyword == "media":
        return applies(prelude)
    if node.lower_at_keyword == "supports":
        return not prelude.startswith("not")
    return str(node.lower_at_keyword) == "layer"


def _may_decide(tokens: list[Any]) -> bool:
    return any(token.type == "ident" and token.lower_value in _NAMED for token in tokens)


def _decided(contents: list[Any]) -> dict[str, tuple[str, bool]]:
    """The deciding declarations. Opacity is none where it changes with a movement: what comes in is seen then."""
    said: dict[str, tuple[str, bool]] = {}
    moves = False
    for item in contents:
        if item.type != "declaration":
            continue
        moves = moves or item.lower_name.startswith(_MOVING)
        words = [token for token in item.value if token.type not in ("whitespace", "comment")]
        if item.lower_name in PROPERTIES and len(words) in (1, 2):
            value = str(getattr(words[-1], "lower_value", "") or getattr(words[-1], "representation", ""))
            said[str(item.lower_name)] = (value, bool(item.important))
        elif item.lower_name in _OF_WORDS:
            name, known = _OF_WORDS[item.lower_name]
            found = [word.lower_value for word in words if word.type == "ident" and word.lower_value in known]
            if found:
                said[name] = (str(found[0]), bool(item.important))
        elif item.lower_name == "mso-hide" and [word.value for word in words] == ["all"]:
            said["display"] = ("none", bool(item.important))
    if moves:
        said.pop("opacity", None)
    return said


def _selectors(prelude: list[Any]) -> Iterator[list[Any]]:
    """The selectors of a list, each as its tokens."""
    one: list[Any] = []
    for token in prelude:
        if token == ",":
            yield one
            one = []
        else:
            one.append(token)
    yield one


def _specificity(tokens: list[Any]) -> tuple[int, int, int]:
    """Numbers of ids, of classes, attributes and pseudo-classes, and of elements in a selector."""
    ids = classes = elements = 0
    before = ""
    for token in tokens:
        if token.type == "hash":
            ids += 1
        elif token.type == "[] block" or (token.type == "ident" and before in (".", ":")):
            classes += 1
        elif token.type == "ident":
            elements += 1
        elif token.type == "function" and token.lower_name != "where":
            inner = _specificity(token.arguments)
            counted = token.lower_name in ("is", "not", "has")
            ids, classes = ids + inner[0], classes + (inner[1] if counted else 1)
            elements += inner[2] if counted else 0
        before = token.value if token.type == "literal" else ""
    return ids, classes, elements
