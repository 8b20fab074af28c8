"""BEIR-style corpus.jsonl: a document a line, `{"_id", "title", "text"}`, read line by line."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from weightwright.errors import DataError, Place
from weightwright.ports import Document, MetadataValue
from weightwright.rag.readers.text import clean
from weightwright.rag.settings import LoadSettings

_MOST_BLANK = 1000  # lines before the first document
_EXPECTED = 'expected {"_id": ..., "title": ..., "text": ...}'


def read_corpus(path: Path, shown: str, settings: LoadSettings) -> Iterator[Document | tuple[int, str]]:
    """Documents, or (line, reason) for a line that is none. Raises DataError where the first line is none."""
    with _opened(path) as file:
        began = False
        for number, line in enumerate(_lines(file, settings.max_line_mb * 1_000_000), 1):
            if line is not None and not line.strip():
                continue
            try:
                if line is None:
                    raise DataError(
                        None, f"longer than max_line_mb={settings.max_line_mb}; raise --max-line-mb"
                    )
                yield _document(line, shown, first=not began)
                began = True
            except DataError as error:
                if not began:
                    raise DataError(Place(line=number), error.problem) from error
                yield number, str(error)
        if not began:
            raise DataError(None, "empty")


def is_corpus(path: Path, settings: LoadSettings) -> bool:
    """Whether the first line that is not blank is a document, `{"_id", "text"}`."""
    try:
        with _opened(path) as file:
            for number, line in enumerate(_lines(file, settings.max_line_mb * 1_000_000)):
                if line is None or number > _MOST_BLANK:
                    return False
                if line.strip():
                    row = json.loads(line.decode("utf-8-sig"))
                    return isinstance(row, dict) and "_id" in row and "text" in row
    except (DataError, ValueError, RecursionError):
        return False
    return False


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where it is gzip's. Raises DataError where that breaks off."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        try:
            with gzip.open(file) as unpacked:
                yield cast(BinaryIO, unpacked)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(None, f"not whole or no gzip file ({error}); compress it again") from error


def _lines(file: BinaryIO, most_bytes: int) -> Iterator[bytes | None]:
    """Lines; None for one that is too long, which is passed over without being held in memory."""
    while line := file.readline(most_bytes + 1):
        if len(line) <= most_bytes:
            yield line
            continue
        while not line.endswith(b"\n") and (line := file.readline(most_bytes)):
            pass
        yield None


def _document(line: bytes, shown: str, *, first: bool) -> Document:
    try:
        row = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(None, f"not UTF-8 ({error.reason}); convert it to UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(None, f"not JSON ({error}); {_EXPECTED}") from error
    if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get("text"), str):
        raise DataError(None, f"no document; {_EXPECTED}")
    if not isinstance(row["_id"], str | int) or isinstance(row["_id"], bool) or row["_id"] == "":
        raise DataError(None, f"_id is {row['_id']!r}, expected a text; {_EXPECTED}")
    title, text = row.get("title") or "", clean(row["text"])
    if not isinstance(title, str):
        raise DataError(None, f"title is {title!r}, expected a text; {_EXPECTED}")
    if not text.strip() and not title.strip():
        raise DataError(None, f"document {row['_id']!r} holds no text")
    if not text.strip():
        text, title = clean(title), ""
    return Document(
        clean(str(row["_id"])), text, shown, clean(title).strip(), (), _metadata(row.get("metadata"))
    )


def _metadata(given: object) -> dict[str, MetadataValue]:
    """The plain values of a line's metadata; nested ones cannot be filtered by and are left out."""
    plain = given if isinstance(given, dict) else {}
    kept = {clean(str(k)): clean(v) if isinstance(v, str) else v for k, v in plain.items()}
    return {k: v for k, v in kept.items() if isinstance(v, str | int | float | bool)} | {"format": "corpus"}
