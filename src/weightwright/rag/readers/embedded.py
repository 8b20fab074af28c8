"""Files that lie in an Office file as objects: Office files, PDF, what other programs packed (Ole10Native)."""

import io
import posixpath
import re
import zipfile
from typing import Any

from weightwright.rag.readers.base import Attachment

_KNOWN = frozenset(
    "docx docm xlsx xlsm pptx pptm odt ods odp pdf rtf txt csv html htm mht md xml json eml msg zip".split()  # noqa: SIM905
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NATIVE_HEAD = 6  # bytes: the length of the rest, a type
_OFFICE = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"))
_ENDING = re.compile(r"\.(\w{1,5})$")


def embedded_file(name: str, data: bytes) -> Attachment | None:
    """The file that an object is or holds; None for one of another program or an older form."""
    base = posixpath.basename(name)
    if base.rpartition(".")[2].lower() in _KNOWN and not data.startswith(_OLE):
        return Attachment(base, data)
    if data.startswith(_OLE):
        return _in_ole(base.rpartition(".")[0], data)
    return Attachment(f"{base}.pdf", data) if data.startswith(b"%PDF-") else None


def _in_ole(stem: str, data: bytes) -> Attachment | None:
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            if ole.exists("Package"):
                return _of_office(stem, _stream(ole, "Package"))
            if ole.exists("EmbeddedOdf"):
                return Attachment(f"{stem}.odt", _stream(ole, "EmbeddedOdf"))
            if ole.exists("CONTENTS"):
                inside = _stream(ole, "CONTENTS")
                return Attachment(f"{stem}.pdf", inside) if inside.startswith(b"%PDF-") else None
            return _native(_stream(ole, "\x01Ole10Native")) if ole.exists("\x01Ole10Native") else None
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        return None  # counted with those that are not read


def _stream(ole: Any, name: str) -> bytes:
    return bytes(ole.openstream(name).read())


def _of_office(stem: str, data: bytes) -> Attachment | None:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = package.namelist()
    ending = next((ending for part, ending in _OFFICE if any(name.startswith(part) for name in names)), None)
    return Attachment(f"{stem}.{ending}", data) if ending else None


def _native(stream: bytes) -> Attachment | None:
    """A file of any program (MS-OLEDS 2.3.6): its name, two paths, its bytes with their length before them."""
    name, at = _text(stream, _NATIVE_HEAD)
    path, at = _text(stream, at)
    at += 4
    length = int.from_bytes(stream[at : at + 4], "little")
    _, at = stream[at + 4 : at + 4 + length], at + 4 + length
    size = int.from_bytes(stream[at : at + 4], "little")
    inside = stream[at + 4 : at + 4 + size]
    shown = posixpath.basename((name or path).replace("\\", "/"))
    ending = _ENDING.search(shown)
    if not inside or len(inside) < size or ending is None or ending[1].lower() not in _KNOWN:
        return None
    return Attachment(shown, inside)


def _text(stream: bytes, start: int) -> tuple[str, int]:
    from weightwright.rag.readers.encoding import decode_web

    end = stream.index(0, start)
    return decode_web(stream[start:end], None), end + 1
