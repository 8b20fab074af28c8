"""What a reader must do. Its contract test is `weightwright.testing.reader.ReaderContract`."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from weightwright.errors import DataError
from weightwright.ports import Block, Place
from weightwright.rag.settings import LoadSettings

ENTRY_POINTS = "weightwright.readers"
_HERE = "weightwright.rag.readers"
_CODE = """
py pyi js mjs ts tsx jsx c h cc cpp hpp cxx java kt scala go rs rb php pl lua r jl swift cs fs vb hs ml clj ex erl
sh bash zsh ps1 bat sql css scss less vue tf proto graphql asm f90 pas dart groovy gradle cmake
""".split()  # noqa: SIM905
# the ending of a file's name → the `module:function` that reads it
READERS: dict[str, str] = {
    "md": f"{_HERE}.markdown:read_markdown",
    "markdown": f"{_HERE}.markdown:read_markdown",
    "ipynb": f"{_HERE}.notebook:read_notebook",
    "html": f"{_HERE}.html:read_html",
    "htm": f"{_HERE}.html:read_html",
    "xhtml": f"{_HERE}.html:read_html",
    "pdf": f"{_HERE}.pdf.read:read_pdf",
    "docx": f"{_HERE}.docx:read_docx",
    "docm": f"{_HERE}.docx:read_docx",
    "dotx": f"{_HERE}.docx:read_docx",
    "pptx": f"{_HERE}.pptx:read_pptx",
    "pptm": f"{_HERE}.pptx:read_pptx",
    "ppsx": f"{_HERE}.pptx:read_pptx",
    "xlsx": f"{_HERE}.xlsx:read_xlsx",
    "xlsm": f"{_HERE}.xlsx:read_xlsx",
    "xltx": f"{_HERE}.xlsx:read_xlsx",
    **dict.fromkeys(("odt", "ods", "odp", "ott", "ots", "otp"), f"{_HERE}.odf:read_odf"),
    "epub": f"{_HERE}.epub:read_epub",
    "rtf": f"{_HERE}.rtf:read_rtf",
    "csv": f"{_HERE}.delimited:read_delimited",
    "tsv": f"{_HERE}.delimited:read_delimited",
    "tab": f"{_HERE}.delimited:read_delimited",
    "json": f"{_HERE}.structured:read_json",
    "geojson": f"{_HERE}.structured:read_json",
    "jsonl": f"{_HERE}.structured:read_json_lines",
    "ndjson": f"{_HERE}.structured:read_json_lines",
    "eml": f"{_HERE}.mail:read_eml",
    "msg": f"{_HERE}.msg:read_msg",
    **dict.fromkeys(_CODE, f"{_HERE}.code:read_code"),
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that lies in another one; it is read by the reader of its own name's ending."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader found: `\n` line ends, nothing that UTF-8 cannot hold; `page_starts[i]` begins page i+1.

    `places` and `blocks` are as in `ports.Document`. `notes` say what was left out and why, one a sentence.
    """

    text: str
    format: str
    title: str = ""
    page_starts: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()
    blocks: tuple[Block, ...] | None = None
    attachments: tuple[Attachment, ...] = ()
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """Reads files of one kind.

    A package brings one by an entry point of the group `weightwright.readers`: its name is the ending of
    the files without the point (`docx`), its value the function's `module:name`.
    """

    def __call__(self, data: bytes, settings: LoadSettings, /) -> Content:
        """The text of a file's bytes. Raises DataError with the reason where they are not what it reads."""
        ...


def installed_reader(ending: str) -> Reader | None:
    """The reader that a package brings for this ending; it goes before our own."""
    point = _installed().get(ending)
    if point is None:
        return None
    try:
        reader: Reader = point.load()
    except (ImportError, AttributeError) as error:
        raise DataError(
            None,
            f"what reads .{ending} files, {point.value}, cannot be imported ({error}); install its package again",
        ) from error
    return reader


@cache
def _installed() -> dict[str, EntryPoint]:
    """Once for all files: looking through the installed packages takes 20 ms."""
    return {point.name.lower(): point for point in entry_points(group=ENTRY_POINTS)}


def own_reader(ending: str) -> Reader:
    """Our reader for this ending; without one of its own a file is read as plain text."""
    module, _, name = READERS.get(ending, f"{_HERE}.text:read_plain").partition(":")
    reader: Reader = getattr(import_module(module), name)
    return reader
