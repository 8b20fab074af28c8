"""Data files as rows: JSON, JSON lines, CSV, Parquet, plain text, these compressed, and the files of a folder.

What cannot be read is an error with its place: by default it is raised; a caller that wants all of them
(`data check`) hands in its own `broken`.
"""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from weightwright.data.compressed import open_data, suffix_of
from weightwright.data.folder import SUFFIXES
from weightwright.data.jsonlist import JsonList
from weightwright.data.jsonobjects import spread_objects
from weightwright.data.jsontext import TOO_DEEP, json_problem
from weightwright.data.row import PLAIN, Layout, OnBroken, Row, kind_of, stop
from weightwright.errors import DataError, Place
from weightwright.extras import require

_PIECE = 1 << 16  # characters or bytes read at once
_BATCH_ROWS = 256  # of a Parquet file
_LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_file(
    path: Path, layout: Layout = PLAIN, broken: OnBroken = stop, *, text_lines: bool = False
) -> Iterator[Row]:
    """The rows of one file, one by one; what it is, its suffix says (JSON or JSON lines: its first character).

    A .txt file is one row with the field `text`; with `text_lines` each of its lines is one.
    Raises DataError where there is no row at all, or the file cannot be read.
    """
    seen = 0

    def noted(error: DataError) -> None:
        nonlocal seen
        seen += 1
        broken(error)

    for place, value in _values(path, noted, text_lines):
        seen += 1
        wrong = _wrong(value)
        if wrong:
            broken(DataError(place, wrong))
        else:
            yield Row(value, place, layout)
    if not seen:
        raise DataError(path, "is an empty list; it must hold at least one row")


def _wrong(value: Any) -> str:
    """Why a value is no row; "" where it is one."""
    if not isinstance(value, dict):
        return f"a row must be an object with named fields, found {kind_of(value)}"
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        return f"the text holds {half!r}, half of a surrogate pair; write the whole character"
    except RecursionError:
        return TOO_DEEP
    return ""


def fingerprint(paths: list[Path]) -> str:
    """A hash of the files' content, in order: the same rows, the same fingerprint."""
    parts = [_sha256(path) for path in paths]
    return parts[0].hex() if len(parts) == 1 else hashlib.sha256(b"".join(parts)).hexdigest()


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _values(path: Path, broken: OnBroken, text_lines: bool) -> Iterator[tuple[Place, Any]]:
    suffix = suffix_of(path)
    if suffix in (".parquet", ".arrow"):
        yield from _parquet(path) if suffix == ".parquet" else _arrow(path)
        return
    if suffix not in (".csv", ".tsv", ".txt"):
        yield from _json(path, broken)
        return
    with _decoded(path, newline=None if text_lines else "") as file:  # csv ends its lines itself
        if suffix == ".txt":
            yield from _text(path, file, text_lines)
        else:
            yield from _csv(path, file, "\t" if suffix == ".tsv" else ",", broken)


@contextmanager
def _decoded(path: Path, newline: str | None) -> Iterator[TextIO]:
    """The file as text, unpacked; its lines are read one by one."""
    try:
        with open_data(path) as raw, io.TextIOWrapper(raw, encoding=_encoding(path), newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        known = "" if suffix_of(path) in SUFFIXES else f" (files are read that are {', '.join(SUFFIXES)})"
        raise DataError(
            path, f"is not UTF-8 text (byte {_first_wrong(path)}){known}; save it as UTF-8 and try again"
        ) from error


def _encoding(path: Path) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so."""
    with open_data(path) as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _first_wrong(path: Path) -> int:
    """The first byte of a file that is not UTF-8; what failed knows only its place in a block."""
    with open_data(path) as file:
        try:
            file.read().decode()
        except UnicodeDecodeError as error:
            return error.start
    return 0


def _empty(path: Path) -> DataError:
    return DataError(path, "is empty; it must hold at least one row")


def _json(path: Path, broken: OnBroken) -> Iterator[tuple[Place, Any]]:
    """The values of one list, of one object, or of a line each: the first character says which."""
    with _decoded(path, newline="\n") as file:  # only a line feed ends a line
        first = ""
        while not first and (piece := file.read(_PIECE)):
            first = piece.lstrip()[:1]
    if not first:
        raise _empty(path)
    if first == "{" and (spread := _spread(path)) is not None:
        yield from spread
        return
    with _decoded(path, newline="\n") as file:
        yield from JsonList(path, file).values() if first == "[" else _json_lines(path, file, broken)


def _spread(path: Path) -> list[tuple[Place, Any]] | None:
    with _decoded(path, newline="\n") as file:
        return spread_objects(path, file)


def _json_lines(path: Path, lines: Iterable[str], broken: OnBroken) -> Iterator[tuple[Place, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = Place(str(path), line=number)
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            expected = "expected one object a line, or a file that is one list [...] of objects"
            broken(DataError(place, f"{json_problem(error)}; {expected}"))
        except (ValueError, RecursionError) as error:
            broken(DataError(place, json_problem(error)))
        else:
            yield place, value


def _csv(path: Path, file: TextIO, delimiter: str, broken: OnBroken) -> Iterator[tuple[Place, Any]]:
    with _long_fields():
        first = file.readline()
        if delimiter not in first:  # as a spreadsheet of another language saves it
            delimiter = next((other for other in ";\t" if other in first), delimiter)
        reader = csv.reader(chain([first], file), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        ended = 0
        try:
            for cells in reader:
                place, ended = Place(str(path), line=ended + 1), reader.line_num
                if not cells:
                    continue
                if header is None:
                    header = _header(cells, path)
                elif len(cells) != len(header):
                    broken(DataError(place, f"{len(cells)} cells where the first line names {len(header)}"))
                else:
                    pairs = zip(header, cells, strict=True)
                    yield place, {name: _cell(name, cell) for name, cell in pairs}
        except csv.Error as error:
            raise DataError(Place(str(path), line=reader.line_num), f"not valid CSV ({error})") from error
        if header is None:
            raise _empty(path)


def _header(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) != len(names) or not all(names):
        raise DataError(
            Place(str(path), line=1), f"each column needs a name of its own, found: {', '.join(names)}"
        )
    return names


def _cell(name: str, cell: str) -> Any:
    """A cell as JSON would have it: truth values known; turns and lists are opened where their field is read."""
    return _LABELS.get(cell.strip().lower(), cell) if name in ("label", "kto_tag") else cell


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let cells be as long as they are; csv's own limit is 131,072 characters."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> Iterator[tuple[Place, Any]]:
    if not path.is_file():
        raise DataError(path, "does not exist")
    parquet, arrow = require("pyarrow.parquet", extra="parquet"), require("pyarrow", extra="parquet")
    number = 0
    try:
        with parquet.ParquetFile(str(path), buffer_size=_PIECE) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                for value in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield Place(str(path), row=number), {key: _own(one) for key, one in value.items()}
    except (arrow.ArrowException, OSError) as error:
        raise DataError(path, f"is not a Parquet file that can be read: {error}") from error


def _arrow(path: Path) -> Iterator[tuple[Place, Any]]:
    """The rows of a file as the datasets library saves them (`save_to_disk`)."""
    arrow, ipc = require("pyarrow", extra="parquet"), require("pyarrow.ipc", extra="parquet")
    number = 0
    try:
        with path.open("rb") as file:
            begins = file.read(6)
            file.seek(0)
            stream = begins != b"ARROW1"
            reader = ipc.open_stream(file) if stream else ipc.open_file(file)
            batches = reader if stream else map(reader.get_batch, range(reader.num_record_batches))
            for batch in batches:
                for value in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield Place(str(path), row=number), {key: _own(one) for key, one in value.items()}
    except (arrow.ArrowException, OSError) as error:
        raise DataError(path, f"is not an Arrow file that can be read: {error}") from error


def _own(value: Any) -> Any:
    """A value without the nulls of structs, to which Arrow gives every field that any row has."""
    if isinstance(value, dict):
        return {key: _own(one) for key, one in value.items() if one is not None}
    return [_own(one) for one in value] if isinstance(value, list) else value


def _text(path: Path, file: TextIO, text_lines: bool) -> Iterator[tuple[Place, Any]]:
    empty = True
    for number, line in enumerate(file if text_lines else [file.read()], 1):
        if line.strip():
            empty = False
            place = Place(str(path), line=number if text_lines else 0)
            yield place, {"text": line.removesuffix("\n") if text_lines else line.replace("\r\n", "\n")}
    if empty:
        raise _empty(path)
