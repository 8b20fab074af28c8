"""Our readers keep the contract; one that a package brings is taken; compressed files are read as what is in them."""

import gzip
import json
from pathlib import Path

import pytest

from weightwright.rag.load import load, sources
from weightwright.rag.readers import base
from weightwright.rag.readers.base import Content, own_reader
from weightwright.rag.settings import LoadSettings
from weightwright.testing.reader import ReaderContract

from .files import pdf
from .office import cell, docx, epub, odf, paragraph, pptx, shape, sheet, xlsx

PAGE = (
    b"<html><head><title>Leave</title></head><body><h1>Leave</h1><p>Everybody has 27 days.</p></body></html>"
)
NOTEBOOK = json.dumps(
    {"cells": [{"cell_type": "markdown", "source": ["# A\n", "Everybody has 27 days."]}]}
).encode()


class OfEnding(ReaderContract):
    """The reader for `ending`."""

    @pytest.fixture
    def reader(self):
        return own_reader(self.ending)

    @pytest.fixture
    def file(self):
        return self.content

    @pytest.fixture
    def says(self):
        return "Everybody has 27 days."


class TestPlain(OfEnding):
    ending, content = "log", "Everybody has 27 days.\r\n每人有27天。".encode()


class TestMarkdown(OfEnding):
    ending, content = "md", b"---\ntitle: Leave\n---\n# Annual\n\nEverybody has 27 days.\n"


class TestHtml(OfEnding):
    ending, content = "html", PAGE


class TestNotebook(OfEnding):
    ending, content = "ipynb", NOTEBOOK


class TestPdf(OfEnding):
    ending = "pdf"

    @pytest.fixture
    def file(self, tmp_path):
        return pdf(tmp_path / "a.pdf", ["First page.", "Everybody has 27 days."]).read_bytes()


class TestWord(OfEnding):
    ending, content = "docx", docx(paragraph("Everybody has 27 days."))


class TestPowerPoint(OfEnding):
    ending, content = "pptx", pptx(shape("Everybody has 27 days."), notes="Say it slowly.")


class TestExcel(OfEnding):
    ending, content = "xlsx", xlsx({"Leave": sheet(cell("A1", "Everybody has 27 days."))})


class TestOpenDocument(OfEnding):
    ending, content = "odt", odf("<text:p>Everybody has 27 days.</text:p>")


class TestBook(OfEnding):
    ending, content = "epub", epub("<html><body><p>Everybody has 27 days.</p></body></html>")


class TestRtf(OfEnding):
    ending, content = "rtf", rb"{\rtf1\ansi Everybody has 27 days.\par}"


class TestDelimited(OfEnding):
    ending, content = "csv", b"who;what\nall;Everybody has 27 days.\n"


class TestJson(OfEnding):
    ending, content = "json", b'{"leave": "Everybody has 27 days."}'


class TestJsonLines(OfEnding):
    ending, content = "jsonl", b'{"leave": "Everybody has 27 days."}\n'


class TestMail(OfEnding):
    ending = "eml"
    content = b"From: a@example.com\nSubject: Leave\nContent-Type: text/plain\n\nEverybody has 27 days.\n"


class TestCode(OfEnding):
    ending, content = "py", b"def leave():\n    return 'Everybody has 27 days.'\n"


@pytest.mark.shared
class TestOutlook(OfEnding):
    ending = "msg"

    @pytest.fixture
    def file(self, shared):
        return (shared / "data" / "docs" / "test_outlook_msg.msg").read_bytes()

    @pytest.fixture
    def says(self):
        return "This is the body of the test email message"


def read(path, **settings):
    return [item for source in sources([path]) for item in load(source, LoadSettings(**settings))]


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [("a.md.gz", b"# Leave\n\n27 days", "markdown"), ("a.html.GZ", PAGE, "html"), ("notes.gz", b"27 days", "text"),
     ("a.txt", b"27 days", "text")],
)  # fmt: skip
def test_a_compressed_file_is_read_as_what_is_in_it(tmp_path, name, content, format_):
    (tmp_path / name).write_bytes(gzip.compress(content))
    [document] = read(tmp_path / name)
    assert (document.id, document.metadata["format"]) == (name, format_)
    assert "27 days" in document.text


def test_a_compressed_corpus_is_read_line_by_line(tmp_path):
    texts = {str(n): f"text\u2028 {n}" for n in range(3)}
    lines = [json.dumps({"_id": n, "text": text}, ensure_ascii=False) for n, text in texts.items()]
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    assert {document.id: document.text for document in read(tmp_path / "corpus.jsonl.gz")} == texts


TAR = b"a.md".ljust(257, b"\0") + b"ustar" + b"\0" * 250
ROWS = b'{"_id": "1", "text": "a"}\n' * 999


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.md.gz", gzip.compress(b"word " * 1000)[:-20], "not whole"),
        ("a.md.gz", b"\x1f\x8b\x08\x00 and more", "not whole"),
        ("a.tar.gz", gzip.compress(TAR), "not a whole tar archive"),
        ("a.md.gz", gzip.compress(gzip.compress(b"x")), "twice"),
        ("a.md.gz", gzip.compress(b"x" * 3_000_000), "max_file_mb=1"),
        ("a.md.gz", gzip.compress(b"  "), "no text"),
        ("a.docx.gz", gzip.compress(b"x"), "not a whole .docx"),
        ("c.jsonl.gz", gzip.compress(ROWS)[:-9], "not whole"),
        ("a.md.gz", b"", "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time into its bytes
)
def test_what_cannot_be_unpacked_is_skipped_with_its_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    skipped = read(tmp_path / name, max_file_mb=1)[-1]
    assert reason in skipped.reason


def read_notes(data, settings):
    """What the entry point names."""
    return Content(data.decode().removeprefix("PK\x03\x04"), "note")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    info = tmp_path / "site" / "notes-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1.0\n")
    lines = ["[weightwright.readers]", f"note = {__name__}:read_notes", f"docx = {__name__}:read_notes"]
    (info / "entry_points.txt").write_text("\n".join([*lines, "odd = no_such_module:read"]))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # where the child finds this file
    base._installed.cache_clear()
    yield
    base._installed.cache_clear()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["a.note", "A.NOTE", "a.docx", "a.note.gz"])
def test_a_reader_that_a_package_brings_is_taken(tmp_path, name):
    data = b"PK\x03\x0427 days"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    [document] = read(tmp_path / name)
    assert (document.text, document.metadata["format"]) == ("27 days", "note")


@pytest.mark.usefixtures("installed")
def test_a_reader_that_cannot_be_imported_is_one_clear_line(tmp_path):
    (tmp_path / "a.odd").write_text("x")
    [skipped] = read(tmp_path / "a.odd")
    assert "no_such_module:read, cannot be imported" in skipped.reason
