"""What styles of OpenDocument files do to texts and slides."""

from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.package import attribute, child, descendants

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any


def text_styles(roots: "list[Element]") -> dict[str, str]:
    """What styles of characters do to a text: style → `super`, `sub` or `hidden`."""
    found: dict[str, str] = {}
    for root in roots:
        for style in descendants(root, "style"):
            properties = child(style, "text-properties")
            if attribute(style, "family") != "text" or properties is None:
                continue
            position = (attribute(properties, "text-position") or "").split(" ")[0]
            name = attribute(style, "name") or ""
            if attribute(properties, "display") == "none":
                found[name] = "hidden"
            elif position == "super" or (
                position.endswith("%") and position.strip("-0%") and position[0] != "-"
            ):
                found[name] = "super"
            elif position == "sub" or position.startswith("-"):
                found[name] = "sub"
    return found


def hidden_pages(roots: "list[Element]") -> set[str | None]:
    """The styles of slides that are hidden."""
    return {
        attribute(style, "name")
        for root in roots
        for style in descendants(root, "style")
        if attribute(child(style, "drawing-page-properties"), "visibility") == "hidden"
    }
