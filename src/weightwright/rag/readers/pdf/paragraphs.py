"""Lines to text: a line break after each, a blank line where the page has one."""

from collections.abc import Sequence

from weightwright.rag.readers.pdf.lines import Line

_BLANK = 1.75  # baselines that lie further apart, in sizes of the larger line, have space between them


def paragraphs(lines: Sequence[Line]) -> str:
    """The lines' text. What is no running text is set apart by a blank line: it must not end up in a sentence."""
    parts: list[str] = []
    before: Line | None = None
    for line in lines:
        text = str(line)
        if not text:
            continue
        if before is not None:
            parts.append("\n\n" if _set_apart(before, line) else "\n")
        parts.append(text)
        before = line
    return "".join(parts)


def _set_apart(before: Line, line: Line) -> bool:
    """Whether space, another size or another direction parts two lines; a new column alone does not."""
    if before.table or line.table or before.angle != line.angle:
        return True
    larger, smaller = max(before.size, line.size), min(before.size, line.size)
    drop = before.v - line.v
    return drop > _BLANK * larger or (drop > 0 and larger > 1.2 * smaller and len(str(line)) > 3)
