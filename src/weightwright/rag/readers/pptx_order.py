"""The shapes of a slide in the order in which a person reads them: as they are stored, but not against their places.

A shape that stands above another in its column, or left of it in its row, comes first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.package import attribute, child, chosen, descendants, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_SHAPES = ("sp", "graphicFrame", "cxnSp", "grpSp")
_MOST_ORDERED = 300  # shapes of one slide; every pair is looked at
_SHARE = 0.5  # of the smaller extent, that two shapes of one row or column share
_TITLES = ("title", "ctrTitle")


@dataclass(frozen=True, slots=True)
class _Box:
    left: int
    top: int
    right: int
    bottom: int


def ordered_shapes(tree: "Element", inherited: "Sequence[Element]") -> "Iterator[Element]":
    """Shapes and frames that are shown, those in groups with them; of alternatives the first.

    `inherited`: the trees of the slide's layout and master, which place its placeholders.
    """
    shapes = list(_level(tree))
    for shape in _in_order(shapes, [_box(shape, inherited) for shape in shapes]):
        if local(shape) == "grpSp":
            yield from ordered_shapes(shape, inherited)
        else:
            yield shape


def placeholder(shape: "Element") -> str | None:
    """The kind of a placeholder; None for other shapes."""
    holder = child(shape, "nvSpPr", "nvPr", "ph")
    if holder is None:
        holder = child(shape, "nvGraphicFramePr", "nvPr", "ph")
    return None if holder is None else attribute(holder, "type") or "obj"


def _level(tree: "Element") -> "Iterator[Element]":
    stack = list(reversed(tree))
    while stack:
        shape = stack.pop()
        if local(shape) == "AlternateContent":
            stack.extend(reversed(chosen(shape)))
        elif local(shape) in _SHAPES and not _is_hidden(shape):
            yield shape


def _is_hidden(shape: "Element") -> bool:
    for properties in shape:
        named = child(properties, "cNvPr")
        if named is not None:
            return attribute(named, "hidden") in ("1", "true")
    return False


def _in_order(shapes: "list[Element]", boxes: list[_Box | None]) -> "Iterator[Element]":
    """Each shape behind those that go before it; of those that may come next, the first as stored."""
    count = len(shapes)
    if count > _MOST_ORDERED:
        yield from shapes
        return
    before: list[set[int]] = [set() for _ in shapes]
    for a in range(count):
        for b in range(count):
            if a != b and _precedes(boxes[a], boxes[b]):
                before[b].add(a)
    left = list(range(count))
    while left:
        free = next((at for at in left if not before[at] & set(left)), left[0])
        left.remove(free)
        yield shapes[free]


def _precedes(a: _Box | None, b: _Box | None) -> bool:
    if a is None or b is None:
        return False
    column = _shared(a.left, a.right, b.left, b.right)
    row = _shared(a.top, a.bottom, b.top, b.bottom)
    if column >= _SHARE and row < _SHARE:
        return a.top + a.bottom < b.top + b.bottom
    return row >= _SHARE and column < _SHARE and a.left + a.right < b.left + b.right


def _shared(begin: int, end: int, other_begin: int, other_end: int) -> float:
    """The share of the smaller extent that both have."""
    smaller = min(end - begin, other_end - other_begin)
    common = min(end, other_end) - max(begin, other_begin)
    return common / smaller if smaller > 0 else float(common >= 0)


def _box(shape: "Element", inherited: "Sequence[Element]") -> _Box | None:
    """Where a shape stands in its group or slide; a placeholder without a place has its layout's."""
    for holder in (shape, *_models(shape, inherited)):
        frame = next((part for part in holder if local(part) in ("spPr", "grpSpPr")), None)
        place = child(frame if frame is not None else holder, "xfrm")
        offset, extent = child(place, "off"), child(place, "ext")
        numbers = [
            attribute(*pair) or "" for pair in ((offset, "x"), (offset, "y"), (extent, "cx"), (extent, "cy"))
        ]
        if all(number.lstrip("-").isdecimal() for number in numbers):
            x, y, width, height = map(int, numbers)
            return _Box(x, y, x + width, y + height)
    return None


def _models(shape: "Element", inherited: "Sequence[Element]") -> "Iterator[Element]":
    """The placeholders of the layout and the master that a slide's placeholder stands for."""
    kind = placeholder(shape)
    if kind is None:
        return
    number = attribute(next(descendants(shape, "ph"), None), "idx") or "0"
    for tree in inherited:
        others = [other for other in _level(tree) if placeholder(other) is not None]
        same = [o for o in others if (attribute(next(descendants(o, "ph"), None), "idx") or "0") == number]
        alike = [other for other in others if _alike(placeholder(other), kind)]
        both = [other for other in same if other in alike]
        yield from (both or same or alike)[:1]


def _alike(one: str | None, other: str) -> bool:
    bodies = ("obj", "body", "subTitle")
    return one == other or (one in _TITLES and other in _TITLES) or (one in bodies and other in bodies)
