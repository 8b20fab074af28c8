"""What a chart of an Office file says: its titles, then each series with its categories and values as shown."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.number_formats import shown_number
from weightwright.rag.readers.package import attribute, child, descendants, local

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_CACHES = ("strCache", "numCache", "strLit", "numLit", "multiLvlStrCache", "lvl")
_VALUES = ("val", "yVal", "bubbleSize", "numDim")


def chart_text(root: "Element") -> str:
    """`Title; Income: 2022 4.1; 2023 5.2` on one line."""
    return "; ".join(_parts(root))


def _parts(root: "Element") -> Iterator[str]:
    for paragraph in descendants(root, "p"):
        text = "".join(part.text or "" for part in descendants(paragraph, "t"))
        if text.strip():
            yield text
    for series in descendants(root, "ser"):
        name = child(series, "tx")
        names = _points(name) if name is not None else {}
        categories = _points(
            child(series, "cat") if child(series, "cat") is not None else child(series, "xVal")
        )
        values = [_points(part) for part in series if local(part) in _VALUES]
        said = [
            " ".join(
                part for part in (categories.get(at, ""), *(points.get(at, "") for points in values)) if part
            )
            for at in sorted({at for points in (categories, *values) for at in points})
        ]
        label = " ".join(names.values())
        yield f"{label}: {'; '.join(said)}" if label and said else label or "; ".join(said)
    yield from (
        text for dimension in descendants(root, "strDim", "numDim") for text in _points(dimension).values()
    )


def _points(element: "Element | None") -> dict[int, str]:
    """The texts of a chart's stored points by their index; those of several levels stand together."""
    found: dict[int, str] = {}
    if element is None:
        return found
    plain = child(element, "v")
    if plain is not None:
        return {0: plain.text or ""}
    for cache in descendants(element, *_CACHES):
        code = child(cache, "formatCode")
        for point in cache:
            if local(point) != "pt":
                continue
            value = child(point, "v")
            text = (value.text if value is not None else point.text) or ""
            own = attribute(point, "formatCode") or (code.text if code is not None else None) or "General"
            shown = shown_number(text, own) if "num" in local(cache) else text
            index = attribute(point, "idx") or "0"
            at = int(index) if index.isdecimal() else 0
            found[at] = f"{shown} {found[at]}" if found.get(at) else shown
    return found
