"""Formulas of Office (OMML) as a line of text: 10⁶, x_i, (a + b)/c."""

from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.html_math import grouped, script
from weightwright.rag.readers.package import attribute, child, local
from weightwright.rag.readers.writer import lowered, raised

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_DEEPEST = 60


def omml_text(element: "Element", depth: int = 0) -> str:
    """The formula under an element."""
    if depth > _DEEPEST:
        return ""

    def of(name: str) -> str:
        part = child(element, name)
        return omml_text(part, depth + 1) if part is not None else ""

    match local(element):
        case "t":
            return element.text or ""
        case "sSup":
            return of("e") + script(raised(of("sup"), of("e")), of("sup"), "^")
        case "sSub":
            return of("e") + script(lowered(of("sub"), of("e")), of("sub"), "_")
        case "sSubSup":
            low = script(lowered(of("sub"), of("e")), of("sub"), "_")
            return of("e") + low + script(raised(of("sup"), of("e")), of("sup"), "^")
        case "f":
            return f"{grouped(of('num'))}/{grouped(of('den'))}"
        case "rad":
            return f"{of('deg')}√{grouped(of('e'))}"
        case "nary":
            sign = attribute(child(element, "naryPr", "chr"), "val") or "∫"
            low, high = of("sub"), of("sup")
            return (
                sign
                + (f"_{grouped(low)}" if low else "")
                + (f"^{grouped(high)}" if high else "")
                + f" {of('e')}"
            )
        case "d":
            begin = attribute(child(element, "dPr", "begChr"), "val")
            end = attribute(child(element, "dPr", "endChr"), "val")
            inner = ", ".join(omml_text(part, depth + 1) for part in element if local(part) == "e")
            return f"{'(' if begin is None else begin}{inner}{')' if end is None else end}"
        case name if name.endswith("Pr"):
            return ""
        case "mr":
            return " ".join(omml_text(part, depth + 1) for part in element) + "; "
    return "".join(omml_text(part, depth + 1) for part in element)
