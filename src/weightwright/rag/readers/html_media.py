"""Media queries, answered for a screen of 1280 by 720 pixels with a mouse (Media Queries 4)."""

import re

_WIDTH, _HEIGHT, _EM = 1280.0, 720.0, 16.0  # pixels
_LENGTH = re.compile(r"([+-]?\d*\.?\d+)\s*(px|em|rem|pt|in|cm|mm|)")
_PIXELS = {
    "": 1.0,
    "px": 1.0,
    "em": _EM,
    "rem": _EM,
    "pt": 96 / 72,
    "in": 96.0,
    "cm": 96 / 2.54,
    "mm": 96 / 25.4,
}
_FEATURE = re.compile(r"(?:(min|max)-)?(?:device-)?(width|height)\s*:\s*(.+)")
_RANGE = re.compile(r"(?:(.+?)\s*(<=?|>=?|=)\s*)?(width|height)(?:\s*(<=?|>=?|=)\s*(.+))?")
_PREFERRED = {
    "orientation": "landscape", "prefers-color-scheme": "light", "prefers-reduced-motion": "no-preference",
    "hover": "hover", "any-hover": "hover", "pointer": "fine", "any-pointer": "fine", "scripting": "enabled",
    "prefers-contrast": "no-preference", "update": "fast", "display-mode": "browser",
}  # fmt: skip
_TRUE_ALONE = frozenset(
    ("width", "height", "color", "hover", "any-hover", "pointer", "any-pointer", "scripting")
)
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def applies(queries: str) -> bool:
    """Whether one of a list of media queries holds; an empty list does."""
    return not queries.strip() or any(_holds(query.strip()) for query in queries.lower().split(","))


def _holds(query: str) -> bool:
    negated = query.startswith("not ")
    query = query.removeprefix("not ").removeprefix("only ").strip()
    return negated != all(
        any(_is_so(part.strip()) for part in re.split(r"\bor\b", condition))
        for condition in re.split(r"\band\b", query)
    )


def _is_so(condition: str) -> bool:
    if not condition.startswith("("):
        return condition in ("all", "screen")
    inside = condition.strip("() \t\n")
    if inside.startswith("not "):
        return not _is_so(f"({inside.removeprefix('not ').strip()})")
    feature = _FEATURE.fullmatch(inside)
    if feature:
        return _compared(feature[2], {"min": ">=", "max": "<="}.get(feature[1] or "", "="), feature[3])
    name, _, value = inside.partition(":")
    if value:
        return _PREFERRED.get(name.strip()) == value.strip()
    between = _RANGE.fullmatch(inside)
    if between and (between[2] or between[4]):
        low = not between[2] or _compared(between[3], _FLIPPED[between[2]], between[1])
        return low and (not between[4] or _compared(between[3], between[4], between[5]))
    return inside in _TRUE_ALONE


def _compared(name: str, sign: str, length: str) -> bool:
    found = _LENGTH.fullmatch(length.strip())
    if found is None:
        return False
    ours, theirs = _WIDTH if name == "width" else _HEIGHT, float(found[1]) * _PIXELS[found[2]]
    match sign:
        case "<":
            return ours < theirs
        case "<=":
            return ours <= theirs
        case ">":
            return ours > theirs
        case ">=":
            return ours >= theirs
    return ours == theirs
