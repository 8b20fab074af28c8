"""What a file is, by its first bytes and its name: the ending of its reader, or why none of ours reads it."""

from weightwright.errors import DataError
from weightwright.rag import archives
from weightwright.rag.readers.base import READERS, installed_reader

OLD_OFFICE = ["doc", "xls", "ppt", "xlsb", "pages", "numbers", "key", "wps", "et", "dps", "one", "mdb"]
# first bytes → what it is; a file that begins so is refused whatever its name is
FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "an image; it has no text to read"),
    (b"\xff\xd8\xff", "an image; it has no text to read"),
    (b"GIF8", "an image; it has no text to read"),
    (b"RIFF", "a picture, sound or film; it has no text to read"),
    (b"II*\x00", "an image; it has no text to read"),
    (b"MM\x00*", "an image; it has no text to read"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it and add what is in it"),
    (b"Rar!", "a RAR archive; unpack it and add what is in it"),
    (b"SQLite format 3\x00", "an SQLite database, no document"),
    (b"\x7fELF", "a program, no document"),
    (b"MZ\x90", "a program, no document"),
    (b"GGUF", "a model, no document"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ARCHIVE = "zip"
# what a ZIP archive is by a part that it must have → the ending of its reader
_PACKAGES = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"), ("META-INF/container.xml", "epub"))
_OF_PACKAGE = ("docx", "pptx", "xlsx", "epub", "odt")


def kind_of(data: bytes, ending: str) -> str:
    """The ending whose reader reads this, or `zip` for an archive. Raises DataError for what none of ours reads."""
    if installed_reader(ending) is not None:
        return ending
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"{\\rtf"):
        return "rtf"
    if data.startswith(_OLE):
        return _kind_of_ole(ending)
    if archives.is_archive(data):
        return _kind_of_archive(data, ending)
    if ending in OLD_OFFICE:
        raise DataError(None, f".{ending} is a form that is not read; save it as .docx, .xlsx, .pptx or PDF")
    for start, reason in FOREIGN:
        if data.startswith(start):
            raise DataError(None, reason)
    return ending


def _kind_of_ole(ending: str) -> str:
    if ending in _OF_PACKAGE or READERS.get(ending, "").endswith(("docx", "pptx", "xlsx")):
        return ending  # its reader says that it is encrypted
    if ending in OLD_OFFICE:
        raise DataError(
            None,
            f"an old Office file (.{ending}); save it as .docx, .xlsx, .pptx or PDF, for example with LibreOffice",
        )
    return "msg"


def _kind_of_archive(data: bytes, ending: str) -> str:
    """An office file's own reader, also where it has another's name; else an archive."""
    own = READERS.get(ending, "").rpartition(":")[0].rpartition(".")[2]
    if own in ("docx", "pptx", "xlsx", "epub", "odf"):
        return ending
    tail = data[-65_536:]  # the directory at the end of a ZIP archive names all its parts
    if (
        b"[Content_Types].xml" in data[:4096]
        or b"[Content_Types].xml" in tail
        or b"mimetypeapplication" in data[:64]
    ):
        for part, kind in _PACKAGES:
            if part.encode() in tail:
                return kind
        if b"opendocument" in data[:128]:
            return "odt"
    if ending in OLD_OFFICE:
        raise DataError(None, f".{ending} is a form that is not read; save it as .docx, .xlsx, .pptx or PDF")
    return ARCHIVE
