"""Files to documents; what cannot be read is refused with a reason, never guessed at.

`sources` walks what the user gave, in sorted order, and `load` reads one file, choosing the reader by its
first bytes and its name. Hidden files are left out of folders. A document's id is its path relative to
what the user gave; its path is absolute.
"""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightwright.errors import DataError
from weightwright.ports import Document
from weightwright.rag.readers import corpus
from weightwright.rag.readers.base import Content, installed_reader, own_reader
from weightwright.rag.settings import LoadSettings


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, and the id that its document gets."""

    path: Path
    id: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not read. `keep`: it may still hold what an older version of its document says."""

    path: str
    reason: str
    keep: bool = False


_GZIP = b"\x1f\x8b"
OFFICE = ["docx", "xlsx", "pptx", "epub", "odt", "ods", "odp", "doc", "xls", "ppt", "rtf"]
# first bytes → what it is; a file that begins so is refused whatever its name is
FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive; unpack it and add what is in it"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Outlook message or old Office file; save it as text or PDF"),
    (b"\x89PNG", "an image; it has no text to read"),
    (b"\xff\xd8\xff", "an image; it has no text to read"),
    (b"GIF8", "an image; it has no text to read"),
    (b"II*\x00", "an image; it has no text to read"),
    (b"MM\x00*", "an image; it has no text to read"),
    (_GZIP, "compressed (gzip) twice; unpack it first"),
    (b"BZh", "compressed (bzip2); unpack it first"),
    (b"\xfd7zXZ\x00", "compressed (xz); unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it and add what is in it"),
    (b"Rar!", "a RAR archive; unpack it and add what is in it"),
    (b"SQLite format 3\x00", "an SQLite database, no document"),
    (b"\x7fELF", "a program, no document"),
    (b"GGUF", "a model, no document"),
    (
        b"{\\rtf",
        "an RTF file; it needs the office extra, which is not in this version; save it as text or PDF",
    ),
)


def sources(paths: Sequence[str | Path]) -> Iterator[Source | Skipped]:
    """The files that `paths` name, folders opened, in sorted order, each file once."""
    seen: set[tuple[int, int]] = set()
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from _walk(path, path, seen)
        else:
            yield Source(path, path.name)


def load(source: Source, settings: LoadSettings) -> Iterator[Document | Skipped]:
    """The documents in one file (a corpus.jsonl has many), or why it was not read."""
    shown = absolute(source.path)
    try:
        _check_name(shown)
        _check_kind(source.path)
        if _ending(source.path) == "jsonl":
            yield from _load_corpus(source.path, shown, settings)
            return
        content = _read(source.path, settings)
        yield Document(
            id=source.id,
            text=content.text,
            path=shown,
            title=content.title,
            page_starts=content.page_starts,
            metadata={"format": content.format},
            places=content.places,
            blocks=content.blocks,
        )
    except DataError as error:
        yield Skipped(shown, str(error))
    except OSError as error:
        yield Skipped(shown, f"cannot be read: {error.strerror or error}; check its rights", keep=True)


def _check_name(path: str) -> None:
    """A store's names are UTF-8; those that another system has packed into an archive may not be."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(None, "its name, or a folder's above it, is not UTF-8; rename it") from error


def absolute(path: Path) -> str:
    """The absolute path with forward slashes; links stay as the user wrote them."""
    return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100


def _walk(folder: Path, root: Path, seen: set[tuple[int, int]]) -> Iterator[Source | Skipped]:
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        yield Skipped(absolute(folder), f"cannot be opened: {error.strerror or error}", keep=True)
        return
    place = (status.st_dev, status.st_ino)
    if place in seen:
        yield Skipped(absolute(folder), "a link to a folder that was read already", keep=True)
        return
    seen.add(place)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, root, seen)
        else:
            yield Source(entry, entry.relative_to(root).as_posix())


def _check_kind(path: Path) -> None:
    """Refuse what must not be opened: a pipe would wait for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise DataError(None, "a folder, expected a file")
    if not stat.S_ISREG(mode):
        raise DataError(None, "not an ordinary file (a pipe, a socket or a device)")


def _bytes(path: Path, settings: LoadSettings) -> bytes:
    """What is in the file, unpacked where it is gzip's."""
    size, most = path.stat().st_size, settings.max_file_mb * 1_000_000
    limit = f"more than max_file_mb={settings.max_file_mb}; split it, or raise --max-file-mb"
    if size == 0:
        raise DataError(None, "empty")
    if size > most:
        raise DataError(None, f"{size / 1e6:.0f} MB, {limit}")
    data = path.read_bytes()
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.open(path) as file:
            data = file.read(most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(None, f"not whole or no gzip file ({error}); compress it again") from error
    if data[257:262] == b"ustar":
        raise DataError(None, "a tar archive; unpack it and add what is in it")
    if len(data) > most:
        raise DataError(None, f"unpacked {limit}")
    return data


def _check_own(data: bytes, ending: str) -> None:
    """Raise DataError for what none of our own readers reads."""
    if ending in OFFICE:
        raise DataError(
            None,
            f".{ending} needs the office extra, which is not in this version; save it as PDF, HTML or text",
        )
    for start, reason in FOREIGN:
        if data.startswith(start):
            raise DataError(None, reason)


def _load_corpus(path: Path, shown: str, settings: LoadSettings) -> Iterator[Document | Skipped]:
    for item in corpus.read_corpus(path, shown, settings):
        if isinstance(item, Document):
            yield item
        else:
            number, reason = item
            yield Skipped(f"{shown}:{number}", reason)


def _ending(path: Path) -> str:
    """What the file's name ends in, without the point; `notes.md.gz` ends in `md`."""
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return name.suffix.lower().removeprefix(".")


def _read(path: Path, settings: LoadSettings) -> Content:
    data, ending = _bytes(path, settings), _ending(path)
    reader = installed_reader(ending)
    if reader is None:
        _check_own(data, ending)
        reader = own_reader("pdf" if data.startswith(b"%PDF-") else ending)
    content = reader(data, settings)
    if not content.text.strip():
        raise DataError(None, "holds no text")
    if len(content.text) > settings.max_characters:
        raise DataError(
            None,
            f"{len(content.text)} characters, more than max_characters={settings.max_characters}; split it "
            "or raise --max-characters",
        )
    return content
