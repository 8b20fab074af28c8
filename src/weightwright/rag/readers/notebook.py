"""Jupyter notebooks: Markdown and code cells, and what the code put out as text, tables or errors."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from weightwright.errors import DataError
from weightwright.ports import Block, Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import clean, decode
from weightwright.rag.readers.html import read_page
from weightwright.rag.readers.markdown import markdown_blocks
from weightwright.rag.readers.text import without_data
from weightwright.rag.settings import LoadSettings

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MOST_OUTPUT = 20_000  # characters of one cell; logs of training are longer
_TEXTS = ("text/html", "text/markdown", "text/latex", "text/plain")
# formats of notebooks before 4 → MIME types
_OLD = {"html": "text/html", "markdown": "text/markdown", "latex": "text/latex", "text": "text/plain",
        "png": "image/png", "jpeg": "image/jpeg", "svg": "image/svg+xml"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cell:
    kind: str
    source: str
    outputs: tuple[dict[str, object], ...] = ()


@dataclass(slots=True)
class _Writer:
    """Parts with a blank line between them, each a place."""

    parts: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    length: int = 0

    def write(self, text: str, label: str, blocks: "tuple[Block, ...] | None", *, lines: int = 1) -> None:
        """A part; None: it is code as a whole."""
        start = self.length + (2 if self.parts else 0)
        self.places.append(Place(start, label, lines=lines))
        if blocks is None:
            self.blocks.append(Block("code", start, start + len(text)))
        else:
            self.blocks += [
                Block(block.kind, start + block.start, start + block.end, block.level, block.words)
                for block in blocks
            ]
        self.parts.append(text)
        self.length = start + len(text)


def read_notebook(data: bytes, _settings: LoadSettings) -> Content:
    """The cells in order, each a place; headings stand in Markdown cells only. Raises DataError for no notebook."""
    writer = _Writer()
    left_out: Counter[str] = Counter()
    for number, cell in enumerate(_cells(data), 1):
        text = without_data(clean(cell.source)).rstrip()
        if cell.kind in ("markdown", "code", "raw") and text.strip():
            blocks = tuple(markdown_blocks(text, 0)) if cell.kind == "markdown" else None
            writer.write(text, f"cell {number}", blocks)
        for text, blocks in _outputs(cell, left_out):
            writer.write(text, f"cell {number}, output", blocks, lines=0)
    title = next((block.words for block in writer.blocks if block.kind == "heading"), "")
    notes = tuple(f"{kind} in its outputs were left out: {count}" for kind, count in sorted(left_out.items()))
    places, blocks = tuple(writer.places), tuple(writer.blocks)
    return Content("\n\n".join(writer.parts), "notebook", title, places=places, blocks=blocks, notes=notes)


# -- outputs -----------------------------------------------------------------------------------------------


def _outputs(cell: _Cell, left_out: "Counter[str]") -> "Iterator[tuple[str, tuple[Block, ...] | None]]":
    """What a cell put out: texts with their blocks, None where it is code; what has no text is counted."""
    stream = ""
    for output in cell.outputs:
        kind = output.get("output_type")
        if kind == "stream":
            stream += _joined(output.get("text", ""))
            continue
        if stream.strip():
            yield _shown(stream), None
        stream = ""
        if kind in ("error", "pyerr"):
            said = f"{output.get('ename', '')}: {_joined(output.get('evalue', ''))}"
            yield _shown(said), None
        else:
            yield from _data(output, left_out)
    if stream.strip():
        yield _shown(stream), None


def _data(
    output: dict[str, object], left_out: "Counter[str]"
) -> "Iterator[tuple[str, tuple[Block, ...] | None]]":
    """The richest of an output's forms that has text."""
    given = output.get("data", output)
    named = given.items() if isinstance(given, dict) else ()
    forms = {_OLD.get(str(name), str(name)): value for name, value in named}
    is_image = any(name.startswith("image/") for name in forms)
    for name in _TEXTS:
        text = _joined(forms.get(name, ""))
        if is_image and name == "text/plain":  # `<Figure size 640x480 with 1 Axes>`
            break
        if name == "text/html" and text.strip():
            page = read_page(text)
            if page.text.strip():
                yield page.text, page.blocks or ()
                return
        elif text.strip():
            yield _shown(text), tuple(markdown_blocks(text, 0)) if name == "text/markdown" else None
            return
    if is_image:
        left_out["images"] += 1


def _shown(text: str) -> str:
    """Lines as a terminal shows them: without colours, of a line that was written over its last state."""
    text = _COLOURS.sub("", text).replace("\r\n", "\n")
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    text = without_data(clean(text)).strip("\n").rstrip()
    if len(text) <= _MOST_OUTPUT:
        return text
    half = _MOST_OUTPUT // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


# -- the file ----------------------------------------------------------------------------------------------


def _cells(data: bytes) -> list[_Cell]:
    """The cells. Raises DataError where it is no notebook."""
    try:
        notebook = json.loads(decode(data))
        if "cells" in notebook:
            return [
                _Cell(
                    str(cell.get("cell_type")), _joined(cell.get("source", "")), _dicts(cell.get("outputs"))
                )
                for cell in notebook["cells"]
            ]
        sheets = notebook["worksheets"]  # nbformat 3 and older
        return [_old_cell(cell) for sheet in sheets for cell in sheet["cells"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            None, f"not a Jupyter notebook ({type(error).__name__}); expected JSON with cells"
        ) from error


def _old_cell(cell: dict[str, object]) -> _Cell:
    kind = str(cell.get("cell_type"))
    source = _joined(cell["input"] if kind == "code" else cell["source"])
    if kind == "heading":
        level = cell.get("level", 1)
        return _Cell(
            "markdown", f"{'#' * (level if isinstance(level, int) else 1)} {' '.join(source.split())}"
        )
    return _Cell(kind, source, _dicts(cell.get("outputs")))


def _dicts(value: object) -> tuple[dict[str, object], ...]:
    return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _joined(source: object) -> str:
    if isinstance(source, str):
        return source
    return "".join(map(str, source)) if isinstance(source, list) else ""
