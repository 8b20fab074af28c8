"""Data files that are compressed: known by their first bytes, whatever they are called."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from weightwright.errors import DataError
from weightwright.extras import require

_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
ARCHIVES = (".tar", ".tgz", ".zip", ".7z", ".xlsx")


def suffix_of(path: Path) -> str:
    """What kind of file it is by its name: `.jsonl` of `rows.jsonl.gz`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _SUFFIXES else suffix


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes as they are once unpacked. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as raw, _unpacked(raw, path) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(path, "does not exist") from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(path, f"cannot be unpacked: {error}; it may be cut off, fetch it again") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error


def _unpacked(raw: Any, path: Path) -> IO[bytes]:
    first = raw.peek(10)[:10]
    if first[:4] == b"PK\x03\x04" or suffix_of(path) in ARCHIVES:
        raise DataError(
            path, "is an archive or a spreadsheet; unpack it, or save it as .csv, and give that file"
        )
    if first[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if first[:3] == b"BZh" and first[4:] == b"1AY&SY":
        return bz2.BZ2File(raw)
    if first[:6] == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(raw)
    if first[:4] == b"\x28\xb5\x2f\xfd":
        arrow = require("pyarrow", extra="parquet")
        return cast(IO[bytes], arrow.CompressedInputStream(raw, "zstd"))
    return cast(IO[bytes], raw)
