"""Pages that are images: what is on them by OCR, as lines like those of a page with text."""

from statistics import median
from typing import Any

from weightwright.rag.readers.ocr import Recognised, recognise
from weightwright.rag.readers.pdf.lines import Line

_DOTS_PER_INCH = 200
_MOST_PIXELS = 25_000_000  # a larger page is rendered more coarsely
_POINTS = 72
_PROSE_CHARACTERS = 25  # lines of a column of running text are longer
_LARGE = 0.05  # share of the page: an image that covers less is no scan


def is_scanned(page: Any) -> bool:
    """Whether images cover so much of a page that they may hold its text."""
    import pypdfium2.raw as pdfium

    width, height = page.get_size()
    covered = 0.0
    for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        left, bottom, right, top = image.get_bounds()
        covered += max(0.0, right - left) * max(0.0, top - bottom)
    return bool(covered >= _LARGE * width * height)


def recognised_lines(page: Any) -> list[Line]:
    """The page's lines in reading order, in points from its bottom left."""
    width, height = page.get_size()
    dots = min(_DOTS_PER_INCH, _POINTS * (_MOST_PIXELS / max(1.0, width * height)) ** 0.5)
    scale = dots / _POINTS
    bitmap = page.render(scale=scale)
    try:
        image = bitmap.to_numpy()[:, :, :3].copy()
    finally:
        bitmap.close()
    lines = [_line(found, scale, height) for found in recognise(image)]
    return [row for column in _columns(lines, width) for row in _rows(column)]


def _columns(lines: list[Line], width: float) -> list[list[Line]]:
    """The lines left and right of a gap that runs down the middle of the page through running text; else all."""
    for middle in (width * share / 20 for share in (10, 9, 11, 8, 12)):
        left, right = [x for x in lines if x.u1 < middle], [x for x in lines if x.u0 > middle]
        sides = (left, right)
        if len(left) + len(right) < len(lines) or min(map(len, sides)) < 5:
            continue
        if all(median(len(line.text[0]) for line in side) >= _PROSE_CHARACTERS for side in sides):
            return [left, right]
    return [lines]


def _line(found: Recognised, scale: float, height: float) -> Line:
    left, top, right, bottom = (side / scale for side in found.box)
    size = max(bottom - top, 1.0) / 1.2
    return Line([found.text], [left], [right], height - bottom + 0.2 * size, size, 0)


def _rows(lines: list[Line]) -> list[Line]:
    """Lines whose parts were found one by one made whole, where they stand beside each other."""
    rows: list[Line] = []
    for line in lines:
        last = rows[-1] if rows else None
        same = last is not None and abs(last.v - line.v) < 0.4 * min(last.size, line.size)
        if last is not None and same and line.u0 - last.u1 > -0.5 * line.size:
            last.text.append(f" {line.text[0]}")
            last.left.append(line.left[0])
            last.right.append(line.right[0])
        else:
            rows.append(line)
    return rows
