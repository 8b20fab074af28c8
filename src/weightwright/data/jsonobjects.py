"""JSON objects that stand neither in one list nor on a line each: over several lines, or an object around rows."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from weightwright.data.build import has_format
from weightwright.data.folder import split_of
from weightwright.errors import DataError, Place

_AROUND = ("data", "rows", "train", "examples", "instances", "samples", "records", "items")
_MOST_CHARACTERS = 1 << 28  # of such a file, which is held whole
_SPACE = " \t\r\n"


def rows_inside(value: Mapping[str, Any], path: Path) -> list[tuple[str, Any]] | None:
    """The rows that an object holds in its fields, each with its field; None where it is a row, or holds none.

    Raises DataError where a field calls itself a split that is held out.
    """
    if has_format(value):
        return None
    fields = [name for name, held in value.items() if _are_rows(name, held)]
    for name in fields:
        if split_of(Path(name)) in ("validation", "test"):
            raise DataError(
                path,
                f"holds a split {name!r} among its fields; save each split as a file, and name the one to read",
            )
    return [(name, row) for name in fields for row in value[name]] or None


def _are_rows(name: str, held: Any) -> bool:
    if not isinstance(held, list) or not held or not isinstance(held[0], dict):
        return False
    return name.lower() in _AROUND or has_format(held[0]) or split_of(Path(name)) is not None


def spread_objects(path: Path, text: TextIO) -> list[tuple[Place, Any]] | None:
    """The rows of a file that begins with `{`; None where a line each is an object, or is meant to be.

    Raises DataError as `rows_inside` does.
    """
    number, first = next(((n, line) for n, line in enumerate(text, 1) if line.strip()), (0, ""))
    alone = True
    try:
        values = [(number, json.loads(first))]
        alone = not any(line.strip() for line in text)
        spread = False
    except ValueError:
        spread = True
    except RecursionError:
        return None
    if spread:
        try:
            rest = text.read(_MOST_CHARACTERS)
            if text.read(1):
                return None
            values = list(_objects(first + rest, number))
        except (ValueError, RecursionError):
            return None
        alone = len(values) == 1
    if alone and isinstance(values[0][1], dict) and (inside := rows_inside(values[0][1], path)) is not None:
        return [(Place(str(path), row=n, part=field), row) for n, (field, row) in enumerate(inside, 1)]
    if not spread:
        return None
    return [(Place(str(path), row=n, line=line), value) for n, (line, value) in enumerate(values, 1)]


def _objects(text: str, line: int) -> Iterator[tuple[int, Any]]:
    """Values one behind another, each with its line; the text begins at `line`. Raises JSONDecodeError."""
    decoder = json.JSONDecoder()
    at, counted = 0, 0
    while True:
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if at == len(text):
            return
        line, counted = line + text.count("\n", counted, at), at
        value, at = decoder.raw_decode(text, at)
        yield line, value
