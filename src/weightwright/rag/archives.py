"""Archives: ZIP and tar, their members one at a time, within limits; and what gzip, bzip2 and xz have packed."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, cast

from weightwright.errors import DataError
from weightwright.rag.settings import LoadSettings

PACKED = ("gz", "bz2", "xz", "tgz", "tbz2", "txz")  # endings of files that are packed as a whole
_GZIP, _BZIP2, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its path there, and its bytes or why they were not unpacked."""

    name: str
    data: bytes
    modified: str = ""
    problem: str = ""


def unpacked(data: bytes, settings: LoadSettings) -> bytes:
    """What gzip, bzip2 or xz have packed; other bytes as they are. Raises DataError beyond max_file_mb."""
    kind = packing(data)
    if kind is None:
        return data
    most = settings.max_file_mb * 1_000_000
    try:
        with _opened(data, kind) as file:
            inside = bytes(file.read(most + 1))
    except _BROKEN as error:
        raise DataError(None, f"not whole or no {kind} file ({error}); compress it again") from error
    if len(inside) > most:
        raise DataError(
            None, f"unpacked more than max_file_mb={settings.max_file_mb}; split it, or raise --max-file-mb"
        )
    if packing(inside):
        raise DataError(None, f"compressed ({packing(inside)}) twice; unpack it first")
    return inside


def _opened(data: bytes, kind: str) -> IO[bytes]:
    packed = io.BytesIO(data)
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(packed))
    return cast(IO[bytes], bz2.open(packed) if kind == "bzip2" else lzma.open(packed))


def packing(data: bytes) -> str | None:
    """The program that packed the bytes as a whole."""
    for start, name in ((_GZIP, "gzip"), (_BZIP2, "bzip2"), (_XZ, "xz")):
        if data.startswith(start):
            return name
    return None


def is_archive(data: bytes) -> bool:
    """Whether the bytes are a ZIP or tar archive; office files are ZIP archives, too."""
    return data.startswith((_ZIP, _EMPTY_ZIP)) or data[257:262] == b"ustar"


def members(data: bytes, settings: LoadSettings) -> Iterator[Member]:
    """The files in an archive in the order of their names, one at a time.

    Hidden ones are left out. Raises DataError where it is broken, has too many members or unpacks to too much.
    """
    opened = _tar(data, settings) if data[257:262] == b"ustar" else _zip(data, settings)
    left = settings.max_unpacked_mb * 1_000_000
    for member in opened:
        left -= len(member.data)
        if left < 0:
            raise DataError(
                None,
                f"unpacks to more than max_unpacked_mb={settings.max_unpacked_mb}; the rest from {member.name!r} on "
                "was not read; split it, or raise --max-unpacked-mb",
            )
        yield member


def _zip(data: bytes, settings: LoadSettings) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        found = [(_name_of(info), info) for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, *_BROKEN) as error:
        raise DataError(None, f"not a whole ZIP archive ({error}); pack it again") from error
    _check_count(len(found), settings)
    for name, info in sorted(found, key=lambda pair: pair[0]):
        if _is_left_out(name):
            continue
        problem = _bad_path(name)
        if not problem and info.flag_bits & 1:
            problem = "encrypted; unpack the archive with its password and add what is in it"
        inside, problem = (b"", problem) if problem else _zip_member(archive, info, settings)
        yield Member(name, inside, _moment(*info.date_time), problem)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, settings: LoadSettings) -> tuple[bytes, str]:
    try:
        with archive.open(info) as file:
            return _bounded(file, settings)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *_BROKEN) as error:
        return b"", f"cannot be unpacked ({error}); pack it again"


def _tar(data: bytes, settings: LoadSettings) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            infos = [info for info in archive.getmembers() if not info.isdir()]
            _check_count(len(infos), settings)
            for info in sorted(infos, key=lambda info: info.name):
                name = info.name.removeprefix("./")
                if _is_left_out(name):
                    continue
                modified = datetime.fromtimestamp(info.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                problem = _bad_path(name) or ("" if info.isfile() else "a link or device, no ordinary file")
                file = None if problem else archive.extractfile(info)
                inside, problem = _bounded(file, settings) if file is not None else (b"", problem)
                yield Member(name, inside, modified, problem)
    except (tarfile.TarError, *_BROKEN) as error:
        first = str(error).partition("\n")[0].rstrip(":")
        raise DataError(None, f"not a whole tar archive ({first}); pack it again") from error


def _bounded(file: IO[bytes], settings: LoadSettings) -> tuple[bytes, str]:
    """A member's bytes, and what is wrong with it."""
    most = settings.max_file_mb * 1_000_000
    inside = file.read(most + 1)
    if len(inside) > most:
        return b"", f"more than max_file_mb={settings.max_file_mb}; split it, or raise --max-file-mb"
    return (inside, "") if inside else (b"", "empty")


def _check_count(count: int, settings: LoadSettings) -> None:
    if count > settings.max_members:
        raise DataError(
            None,
            f"{count} files, more than max_members={settings.max_members}; split it, or raise --max-members",
        )


def _name_of(info: zipfile.ZipInfo) -> str:
    """The name; one that is not UTF-8 is what a browser would take its bytes for, not code page 437."""
    name = info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        from weightwright.rag.readers.encoding import decode_web

        name = decode_web(info.orig_filename.encode("cp437", "replace"), None)
    return name.replace("\\", "/")


def _bad_path(name: str) -> str:
    """What is wrong with a path in an archive; nothing is written, but citations would name it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name.split("/", maxsplit=1)[0]:
        return "its path leads out of the archive"
    return ""


def _is_left_out(name: str) -> bool:
    return name.startswith("__MACOSX/") or any(
        part.startswith(".") and part != ".." for part in name.split("/")
    )


def _moment(*parts: int) -> str:
    try:
        return datetime(*parts).strftime("%Y-%m-%dT%H:%M:%SZ")  # type: ignore[arg-type]
    except ValueError:
        return ""
