"""Fields of Word: of a field its result is shown, not its code; some show something without a result."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.rag.readers.docx_equations import equation
from weightwright.rag.readers.docx_styles import is_on
from weightwright.rag.readers.package import attribute, child, local
from weightwright.rag.readers.symbol_fonts import symbol

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_SYMBOL = re.compile(r"\s*SYMBOL\s+(?P<code>0x[0-9a-f]+|\d+)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_FONT = re.compile(r'\\f\s+(?:"([^"]*)"|(\S+))')


@dataclass(slots=True)
class _Field:
    code: str = ""
    has_result: bool = False


class Fields:
    """The fields that are open in a paragraph, the innermost last."""

    def __init__(self) -> None:
        self._open: list[_Field] = []

    @property
    def hide(self) -> bool:
        """Whether what stands here is part of a code."""
        return any(not field.has_result for field in self._open)

    def code(self, text: str) -> None:
        """A part of the innermost field's code."""
        if self._open and not self._open[-1].has_result:
            self._open[-1].code += text

    def mark(self, part: "Element") -> str:
        """A field begins, goes on with its result or ends; returns what it shows without one."""
        match attribute(part, "fldCharType"):
            case "begin":
                hidden = self.hide
                self._open.append(_Field())
                return "" if hidden else _form_value(part)
            case "separate" if self._open:
                self._open[-1].has_result = True
            case "end" if self._open:
                field = self._open.pop()
                return "" if self.hide else _without_result(field)
        return ""


def _without_result(field: _Field) -> str:
    found = _SYMBOL.match(field.code)
    if found is not None:
        font = _FONT.search(found["rest"])
        return symbol(int(found["code"], 0), (font[1] or font[2]) if font else "")
    return equation(field.code)


def _form_value(field: "Element") -> str:
    """What a drop-down or check box of a form shows."""
    choices = child(field, "ffData", "ddList")
    if choices is not None:
        entries = [attribute(entry, "val") or "" for entry in choices if local(entry) == "listEntry"]
        chosen = (
            attribute(child(choices, "result"), "val") or attribute(child(choices, "default"), "val") or "0"
        )
        return entries[int(chosen)] if chosen.isdecimal() and int(chosen) < len(entries) else ""
    box = child(field, "ffData", "checkBox")
    if box is None:
        return ""
    checked = child(box, "checked") if child(box, "checked") is not None else child(box, "default")
    return "☒" if is_on(checked) else "☐"
