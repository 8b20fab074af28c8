"""Builds a document's text together with what is known of its ranges: headings, tables, code, places."""

import re
from collections.abc import Iterable, Sequence

from weightwright.ports import Block, Place
from weightwright.rag.readers.base import Attachment, Content
from weightwright.rag.readers.encoding import clean
from weightwright.rag.readers.text import without_data

_LONG = 200  # characters; only longer ones can be base64
_SPACES = re.compile(r"[ \t\xa0\u2000-\u200a\u202f\u205f\u2061]+")
_INVISIBLE = re.compile(r"[\xad\u200b\u2060\u2062-\u2064\ufeff]")
_LIKE_A_HEADING = re.compile(r"#{1,6}(?:\s|$)")
_DIGITS = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOW_DIGITS = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_SMALL_DIGITS = tuple("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉")
_SIGNS = re.compile(r"[0-9n+−=()-]+")
_LOW_SIGNS = re.compile(r"[0-9+−=()-]+")


class TextWriter:
    """Takes paragraphs, headings, tables and code in reading order."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._gap = ""
        self._blocks: list[Block] = []
        self._places: list[Place] = []

    def apart(self) -> None:
        """What comes next stands apart by a blank line."""
        self._gap = "\n\n"

    def close(self) -> None:
        """What comes next stands on the next line, without a blank one."""
        self._gap = "\n"

    def line(self, text: str, mark: str = "") -> None:
        """A line of running text, as it is shown, behind a list item's mark; an empty one is left out."""
        text = _no_data(one_line(text))
        if text:
            self._put(mark + ("\\" + text if _LIKE_A_HEADING.match(text) else text))

    def paragraph(self, text: str) -> None:
        """Lines that stand apart from what is before and after them."""
        self.apart()
        for part in clean(text).split("\n"):
            self.line(part)
        self.apart()

    def heading(self, words: str, level: int) -> None:
        """A heading of a level from 1; deeper ones than 6 are written as 6."""
        words = one_line(words)
        if not words:
            return
        self.apart()
        level = max(1, level)
        start = self._put(f"{'#' * min(level, 6)} {words}")
        self._blocks.append(Block("heading", start, self._length, level, words))
        self.apart()

    def code(self, text: str, language: str = "") -> None:
        """Code or text whose white space counts, in a fence."""
        text = _no_data(_INVISIBLE.sub("", clean(text)).strip("\n"))
        if not text.strip():
            return
        runs = re.findall(r"`{3,}", text)
        fence = "`" * max([3, *(len(run) + 1 for run in runs)])
        self.apart()
        start = self._put(f"{fence}{language}\n{text}\n{fence}")
        self._blocks.append(Block("code", start, self._length))
        self.apart()

    def table(
        self, rows: Iterable[Sequence[str]], *, header: bool, labels: Sequence[str] | None = None
    ) -> None:
        """Rows of cells; `header`: the first one names the columns. `labels[i]` is row i's place.

        Empty rows and columns that are empty at the end are left out.
        """
        kept = [
            (cells, labels[number] if labels else "")
            for number, row in enumerate(rows)
            if any(cells := [cell_text(cell) for cell in row])
        ]
        if not kept:
            return
        width = max(max(n for n, cell in enumerate(cells, 1) if cell) for cells, _ in kept)
        self.apart()
        start, first = None, ""
        for cells, label in kept:
            shown = "| " + " | ".join([*cells[:width], *[""] * (width - len(cells))]) + " |"
            if start is not None:
                self._gap = "\n"
            at = self._put(shown)
            if label:
                self.place(label, at)
            if start is None:
                start = at
                if header and len(kept) > 1:
                    first = shown
                    self._gap = "\n"
                    self._put("|" + " --- |" * width)
        assert start is not None
        self._blocks.append(Block("table", start, self._length, words=first))
        self.apart()

    def place(self, label: str, at: int | None = None, *, lines: int = 0) -> None:
        """What comes next (or stands from `at` on) is at this place of the file."""
        start = self._length + len(self._gap if self._length else "") if at is None else at
        if self._places and self._places[-1].start == start:
            self._places.pop()
        if self._places and self._places[-1] == (self._places[-1].start, label, 0) and not lines:
            return
        self._places.append(Place(start, label, lines))

    def content(
        self,
        format_: str,
        title: str = "",
        *,
        attachments: tuple[Attachment, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> Content:
        """What was written."""
        text = "".join(self._parts)
        places = tuple(place for place in self._places if place.start < len(text))
        return Content(text, format_, one_line(title), (), places, tuple(self._blocks), attachments, notes)

    def _put(self, text: str) -> int:
        """Append after the gap; returns where it begins."""
        gap = self._gap if self._length else ""
        self._gap = "\n"
        self._parts += (gap, text)
        start = self._length + len(gap)
        self._length = start + len(text)
        return start


def one_line(text: str) -> str:
    """The text on one line: runs of spaces are one, what is invisible is gone."""
    return _SPACES.sub(" ", _INVISIBLE.sub("", clean(text)).replace("\n", " ")).strip()


def cell_text(text: str) -> str:
    """A table's cell on one line; a bar in it is escaped."""
    return _no_data(one_line(text)).replace("|", "\\|")


def _no_data(text: str) -> str:
    """Text without base64."""
    return without_data(text) if len(text) >= _LONG else text


def raised(text: str, before: str) -> str:
    """Superscript text: small digits, or apart from what stands `before` it where that ends in a digit."""
    return _apart(text, before, _SIGNS, _DIGITS)


def lowered(text: str, before: str) -> str:
    """Subscript text, as `raised`."""
    return _apart(text, before, _LOW_SIGNS, _LOW_DIGITS)


def struck(text: str, before: str) -> str:
    """Text that is struck out, `~~10~~`, apart from digits before it."""
    bare = text.strip()
    if not bare:
        return text
    gap = " " if text[0].isspace() or before[-1:].isalnum() else ""
    return f"{gap}~~{bare}~~{' ' if text[-1].isspace() else ''}"


def _apart(text: str, before: str, signs: re.Pattern[str], small: dict[int, int]) -> str:
    bare = text.strip()
    if signs.fullmatch(bare):
        shown = bare.translate(small)
        return (
            f" {shown}" if before[-1:] in _SMALL_DIGITS and shown[0] in _SMALL_DIGITS else shown
        )  # two notes
    if text[:1].isspace() or not bare:
        return f" {bare}"
    after = " " if text[-1:].isspace() else ""
    if before[-1:].isdigit() and bare[0].isalnum() and (bare[0].isdigit() or len(bare) == 1):
        return f" {bare}{after}"
    return f" {bare}{after}" if before[-1:].isalnum() and bare[0].isdigit() else f"{bare}{after}"
