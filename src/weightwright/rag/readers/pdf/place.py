"""Where form values and free texts stand among the lines of their page."""

from collections.abc import Sequence

from weightwright.rag.readers.pdf.fields import Inset
from weightwright.rag.readers.pdf.glyphs import to_frame
from weightwright.rag.readers.pdf.lines import Line

_MOST_SIZE = 12.0  # points: a value's letters are no larger, whatever its box is


def with_insets(lines: Sequence[Line], insets: Sequence[Inset]) -> list[Line]:
    """The lines with each form value in the line beside whose words it stands, and what has none as lines."""
    placed = list(lines)
    angle = _main_angle(lines)
    for inset in insets:
        u0, v0, u1, v1 = to_frame(inset.box, angle)
        size = min(v1 - v0, _MOST_SIZE) * 0.8
        texts = inset.text.split("\n")
        low = (
            v0 if len(texts) == 1 else max(v0, v1 - 2 * size)
        )  # of several lines the first stands beside words
        host = _host(placed, angle, (low, v1), u0) if inset.field else None
        top = v1
        if host is not None:
            _insert(host, texts.pop(0), u0, u1)
            top = host.v
        for number, text in enumerate(texts, 1):
            _place(placed, Line([text], [u0], [u1], top - number * size * 1.2, size, angle))
    return placed


def _main_angle(lines: Sequence[Line]) -> int:
    letters: dict[int, int] = {}
    for line in lines:
        letters[line.angle] = letters.get(line.angle, 0) + len(line.text)
    return max(letters, key=lambda angle: letters[angle], default=0)


def _host(lines: Sequence[Line], angle: int, rise: tuple[float, float], u0: float) -> Line | None:
    """The line whose baseline runs through the box, nearest to the left of it, else nearest to the right."""
    low, high = rise
    beside = [
        line
        for line in lines
        if line.angle == angle and low - 0.35 * line.size <= line.v <= high - 0.2 * line.size
    ]
    before = [line for line in beside if line.u0 <= u0]
    if before:
        return max(before, key=lambda line: (min(line.u1, u0), line.u0))
    return min(beside, key=lambda line: line.u0, default=None)


def _insert(line: Line, text: str, u0: float, u1: float) -> None:
    """Put a value between the words of a line, where it stands."""
    at = next((i for i, left in enumerate(line.left) if (left + line.right[i]) / 2 > u0), len(line.left))
    while (
        0 < at < len(line.text)
        and not line.text[at].startswith(" ")
        and line.right[at - 1] > line.left[at] - 0.2 * line.size
    ):
        at += 1  # never into a word
    if at < len(line.text) and not line.text[at].startswith(" "):
        line.text[at] = f" {line.text[at]}"
    line.text.insert(at, f" {text}")
    line.left.insert(at, u0)
    line.right.insert(at, u1)


def _place(lines: list[Line], line: Line) -> None:
    """Behind the nearest line above it, if one stands over it, else before the first below."""
    above = [
        (other.v - line.v, i)
        for i, other in enumerate(lines)
        if other.angle == line.angle and other.v > line.v and min(other.u1, line.u1) > max(other.u0, line.u0)
    ]
    if above:
        lines.insert(min(above)[1] + 1, line)
        return
    below = [i for i, other in enumerate(lines) if other.angle == line.angle and other.v < line.v]
    lines.insert(below[0] if below else len(lines), line)
