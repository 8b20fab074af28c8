"""MathML as a line of text: 10⁶, x_i, (a + b)/c."""

from typing import TYPE_CHECKING

from weightwright.rag.readers.writer import lowered, raised

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_DEEPEST = 60


def math_text(node: "LexborNode") -> str:
    """The formula that a `<math>` element holds."""
    return _text(node, 0).strip()


def _text(node: "LexborNode", depth: int) -> str:
    name = node.tag or ""
    if name == "-text":
        return " ".join((node.text_content or "").split())
    if name.startswith("annotation") or not node.is_element_node:
        return ""
    if depth > _DEEPEST:
        return " ".join(node.text(separator=" ").split())
    parts, child = [], node.child
    while child is not None:
        if child.tag != "-text" or (child.text_content or "").strip():
            parts.append(_text(child, depth + 1))
        child = child.next
    return _joined(name, parts)


def _joined(name: str, parts: list[str]) -> str:
    match name, parts:
        case "msup", [base, high]:
            return base + script(raised(high, base), high, "^")
        case "msub", [base, low]:
            return base + script(lowered(low, base), low, "_")
        case "msubsup", [base, low, high]:
            return base + script(lowered(low, base), low, "_") + script(raised(high, base), high, "^")
        case "mfrac", [above, below]:
            return f"{grouped(above)}/{grouped(below)}"
        case "msqrt", _:
            return f"√{grouped(''.join(parts))}"
        case "mroot", [base, degree]:
            return f"{degree}√{grouped(base)}"
        case "mo", _:
            sign = "".join(parts)
            return f" {sign} " if sign in "=+−<>≤≥≈×·±→∈" and sign else sign
        case (("mtr" | "mtable"), _):
            return " ".join(parts)
        case "mtext", _:
            return f" {''.join(parts)} "
    return "".join(parts)


def script(small: str, plain: str, sign: str) -> str:
    """Small digits where there are such, else the text behind a sign."""
    return small if small != plain and not small.startswith(" ") else f"{sign}{grouped(plain)}"


def grouped(text: str) -> str:
    """A part of a formula, in brackets where it consists of several."""
    return text if len(text.strip()) <= 1 or text.strip().isalnum() else f"({text.strip()})"
