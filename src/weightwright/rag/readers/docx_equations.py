r"""Equations in fields of older Word documents as a line of text: `EQ \f(1,2)` is 1/2.

Word wrote readings of Japanese and Chinese and encircled numbers as such fields, too.
"""

import re
from dataclasses import dataclass

from weightwright.rag.readers.html_math import grouped

_BEGIN = re.compile(r"\s*EQ\b", re.IGNORECASE)
_SWITCH = re.compile(r"\\([a-z]+)(\s*-?\d+)?", re.IGNORECASE)
_BRACKETS = re.compile(r"\\([blr])c\\(.)", re.IGNORECASE)
_FORMAT = re.compile(r"\\\*\s*(?:\"[^\"]*\"|\S+)")
_DEEPEST = 20
_FIRST = "fraobxsilbd"  # the switches that take parts in brackets


@dataclass(slots=True)
class _Reader:
    text: str
    place: int = 0

    def until(self, ends: str, depth: int) -> str:
        """What stands up to one of `ends`, or to the end."""
        out = ""
        while self.place < len(self.text) and self.text[self.place] not in ends:
            switch = _SWITCH.match(self.text, self.place)
            if switch is not None and depth < _DEEPEST:
                out += self._switch(depth)
            elif self.text[self.place] == "\\":
                out += self.text[self.place + 1 : self.place + 2]
                self.place += 2
            elif self.text[self.place] == "(":
                self.place += 1
                out += f"({self.until(')', depth + 1)})"
                self.place += 1
            else:
                out += self.text[self.place]
                self.place += 1
        return out

    def _switch(self, depth: int) -> str:
        """A switch with its options and its parts."""
        name, options, brackets = "", "", ["(", ")"]
        while self.place < len(self.text):
            bracket = _BRACKETS.match(self.text, self.place)
            switch = bracket or _SWITCH.match(self.text, self.place)
            if switch is None:
                break
            if bracket is not None:
                closing = {"(": ")", "[": "]", "{": "}", "<": ">"}.get(bracket[2], bracket[2])
                which = bracket[1].lower()
                brackets = [
                    bracket[2] if which != "r" else brackets[0],
                    closing if which != "l" else brackets[1],
                ]
                if which == "r":
                    brackets[1] = bracket[2]
            elif not name:
                name = switch[1].lower()
            else:
                options += f" {switch[1].lower()}"
            self.place = switch.end()
            while self.text[self.place : self.place + 1] == " ":
                self.place += 1
        if name[:1] not in _FIRST or self.text[self.place : self.place + 1] != "(":
            return ""
        parts = []
        while self.place < len(self.text) and self.text[self.place] != ")":
            self.place += 1
            parts.append(self.until(",;)", depth + 1).strip())
        self.place += 1
        return _shown(name, options, parts, brackets)


def equation(code: str) -> str:
    """What an EQ field shows; "" for others."""
    begin = _BEGIN.match(code)
    return _Reader(_FORMAT.sub("", code[begin.end() :])).until("", 0).strip() if begin else ""


def _shown(name: str, options: str, parts: list[str], brackets: list[str]) -> str:
    if name == "f" and len(parts) == 2:
        return f"{grouped(parts[0])}/{grouped(parts[1])}"
    if name == "r":
        return f"{parts[0]}√{grouped(parts[1])}" if len(parts) == 2 else f"√{grouped(parts[0])}"
    if name == "b":
        return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"
    if name == "o":  # one over the other: a reading and its word, or a number in a circle
        if parts[0].startswith("^") and len(parts) == 2:
            return f"{parts[1]}({parts[0][1:]})"
        return parts[-1]
    if name == "s" and len(parts) == 1 and "up" in options:
        return f"^{parts[0]}"
    if name == "i" and len(parts) == 3:
        sign = "∑" if "su" in options else "∏" if "pr" in options else "∫"
        low, high = (
            f"{mark}{grouped(part)}" if part else "" for mark, part in zip("_^", parts, strict=False)
        )
        return f"{sign}{low}{high} {parts[2]}"
    return ", ".join(filter(None, parts)) if name != "d" else " "
