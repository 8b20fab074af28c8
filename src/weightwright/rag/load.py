"""Files to documents; what cannot be read is refused with a reason, never guessed at.

`sources` walks what the user gave, in sorted order, and `load` reads one file, choosing the reader by its
first bytes and its name. Hidden files are left out of folders. A document's id is its path relative to
what the user gave; its path is absolute. What lies in an archive or a mail is a document of its own, whose path
goes on behind the archive's: `/home/me/reports.zip/2024/costs.xlsx`.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath

from weightwright.errors import DataError
from weightwright.ports import Document
from weightwright.rag import archives, stylesheets
from weightwright.rag.kinds import ARCHIVE, kind_of
from weightwright.rag.readers import corpus
from weightwright.rag.readers.base import Content, installed_reader, own_reader
from weightwright.rag.readers.html import read_html
from weightwright.rag.readers.limits import read_limited
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
    """The documents in one file (an archive, a mail or a corpus.jsonl has many), or why it was not read."""
    shown = absolute(source.path)
    try:
        _check_name(shown)
        _check_kind(source.path)
        if _ending(source.path.name) in ("jsonl", "ndjson") and _is_corpus(source.path, settings):
            yield from _load_corpus(source.path, shown, settings)
            return
        name, data = source.path.name, _bytes(source.path, settings)
        file = _File(name, data, source.id, shown, _modified(source.path), source.path)
    except DataError as error:
        yield Skipped(shown, str(error))
    except OSError as error:
        yield Skipped(shown, f"cannot be read: {error.strerror or error}; check its rights", keep=True)
    else:
        yield from _documents(file, settings, 0)


@dataclass(frozen=True, slots=True)
class _File:
    """A file's bytes, on the disk or in another file: its name, the id and path of its document."""

    name: str
    data: bytes
    id: str
    path: str
    modified: str
    place: Path | None = None  # where on the disk it lies, if it does

    def within(self, name: str, data: bytes, modified: str = "") -> "_File":
        """A file in this one."""
        inside = name.replace("\\", "/").strip("/") or "attachment"
        return _File(
            PurePosixPath(inside).name,
            data,
            f"{self.id}/{inside}",
            f"{self.path}/{inside}",
            modified or self.modified,
        )


def _documents(file: _File, settings: LoadSettings, depth: int) -> Iterator[Document | Skipped]:
    """The document that a file is, and those that lie in it."""
    try:
        file = replace(file, data=archives.unpacked(file.data, settings))
        kind = kind_of(file.data, _ending(file.name))
        if kind == ARCHIVE:
            yield from _members(file, settings, depth)
            return
        content = _read(file, kind, settings)
    except DataError as error:
        yield Skipped(file.path, str(error))
        return
    if content.text.strip():
        yield Document(
            id=file.id,
            text=content.text,
            path=file.path,
            title=content.title,
            page_starts=content.page_starts,
            metadata={"format": content.format},
            places=content.places,
            blocks=content.blocks,
            modified=file.modified,
        )
    for note in content.notes:
        yield Skipped(file.path, f"read in part: {note}")
    names: set[str] = set()
    for attachment in content.attachments:
        name = _free_name(PurePosixPath(attachment.name.replace("\\", "/")).name, names)
        yield from _inner(file.within(name, attachment.data), "attached", settings, depth)


def _members(file: _File, settings: LoadSettings, depth: int) -> Iterator[Document | Skipped]:
    """The documents in an archive, in the order of its members' names."""
    found = False
    for member in archives.members(file.data, settings):
        found = True
        inner = file.within(member.name, member.data, member.modified)
        if member.problem:
            yield Skipped(inner.path, member.problem)
        else:
            yield from _inner(inner, "packed", settings, depth)
    if not found:
        raise DataError(None, "an archive without files")


def _inner(file: _File, how: str, settings: LoadSettings, depth: int) -> Iterator[Document | Skipped]:
    if depth >= settings.max_nesting:
        reason = f"{how} more than max_nesting={settings.max_nesting} files deep; unpack it, or raise --max-nesting"
        yield Skipped(file.path, reason)
    elif not file.data:
        yield Skipped(file.path, "empty")
    else:
        yield from _documents(file, settings, depth + 1)


def _free_name(name: str, taken: set[str]) -> str:
    """A name that no other attachment of the mail has: `image (2).png`."""
    path, number, free = PurePosixPath(name or "attachment"), 1, name or "attachment"
    while free in taken:
        number += 1
        free = f"{path.stem} ({number}){path.suffix}"
    taken.add(free)
    return free


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
    size, most = path.stat().st_size, settings.max_file_mb * 1_000_000
    if size == 0:
        raise DataError(None, "empty")
    if size > most:
        raise DataError(
            None,
            f"{size / 1e6:.0f} MB, more than max_file_mb={settings.max_file_mb}; split it, or raise --max-file-mb",
        )
    return path.read_bytes()


def _modified(path: Path) -> str:
    """When a file was last written, in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_corpus(path: Path, settings: LoadSettings) -> bool:
    """Whether a file of JSON lines has a document a line, or ought to by its name."""
    return path.name.startswith("corpus.") or corpus.is_corpus(path, settings)


def _load_corpus(path: Path, shown: str, settings: LoadSettings) -> Iterator[Document | Skipped]:
    for item in corpus.read_corpus(path, shown, settings):
        if isinstance(item, Document):
            yield item
        else:
            number, reason = item
            yield Skipped(f"{shown}:{number}", reason)


def _ending(name: str) -> str:
    """What a file's name ends in, without the point; `notes.md.gz` ends in `md`."""
    path = PurePosixPath(name)
    if path.suffix.lower().removeprefix(".") in archives.PACKED:
        path = PurePosixPath(path.stem)
    return path.suffix.lower().removeprefix(".")


def _read(file: _File, kind: str, settings: LoadSettings) -> Content:
    reader = installed_reader(kind) or own_reader(kind)
    if reader is read_html and file.place is not None:
        reader = partial(read_html, sheets=stylesheets.beside(file.data, file.place))
    content = read_limited(reader, file.data, settings)
    if not content.text.strip() and not content.attachments:
        reason = f"holds no text; {content.notes[0]}" if content.notes else "holds no text"
        raise DataError(None, reason)
    if len(content.text) > settings.max_characters:
        raise DataError(
            None,
            f"{len(content.text)} characters, more than max_characters={settings.max_characters}; split it "
            "or raise --max-characters",
        )
    return content
