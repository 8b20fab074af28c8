"""Jupyter notebooks: Markdown and code cells, without outputs."""

import json

from weightwright.errors import DataError
from weightwright.ports import Block, Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import clean, decode
from weightwright.rag.readers.markdown import markdown_blocks
from weightwright.rag.readers.text import without_data
from weightwright.rag.settings import LoadSettings


def read_notebook(data: bytes, _settings: LoadSettings) -> Content:
    """The cells in order, each a place; headings stand in Markdown cells only."""
    cells = _cells(data)
    parts: list[str] = []
    places: list[Place] = []
    blocks: list[Block] = []
    length = 0
    for number, (kind, source) in enumerate(cells, 1):
        text = without_data(clean(source)).rstrip()
        if kind not in ("markdown", "code") or not text.strip():
            continue
        if parts:
            length += 2
        places.append(Place(length, f"cell {number}", lines=1))
        if kind == "markdown":
            blocks += markdown_blocks(text, length)
        else:
            blocks.append(Block("code", length, length + len(text)))
        parts.append(text)
        length += len(text)
    title = next((block.words for block in blocks if block.kind == "heading"), "")
    return Content("\n\n".join(parts), "notebook", title, places=tuple(places), blocks=tuple(blocks))


def _cells(data: bytes) -> list[tuple[str, str]]:
    """Kinds and sources. Raises DataError where it is no notebook."""
    try:
        notebook = json.loads(decode(data))
        if "cells" in notebook:
            return [(cell.get("cell_type"), _joined(cell["source"])) for cell in notebook["cells"]]
        sheets = notebook["worksheets"]  # nbformat 3 and older
        return [_old_cell(cell) for sheet in sheets for cell in sheet["cells"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            None, f"not a Jupyter notebook ({type(error).__name__}); expected JSON with cells"
        ) from error


def _old_cell(cell: dict[str, object]) -> tuple[str, str]:
    kind = str(cell.get("cell_type"))
    source = _joined(cell["input"] if kind == "code" else cell["source"])
    if kind == "heading":
        level = cell.get("level", 1)
        return "markdown", f"{'#' * (level if isinstance(level, int) else 1)} {' '.join(source.split())}"
    return kind, source


def _joined(source: object) -> str:
    return source if isinstance(source, str) else "".join(map(str, source))  # type: ignore[call-overload]
