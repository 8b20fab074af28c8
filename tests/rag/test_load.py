"""Reading files: what each kind becomes, and that everything else is refused with a reason."""

import json
import os
import threading
from pathlib import Path

import pytest

from weightwright.ports import Document
from weightwright.rag.load import Skipped, Source, load, sources
from weightwright.rag.settings import LoadSettings

from .files import pdf

CHINESE = (
    "知识库把文档切成小块，再为每一块计算向量。用户提问的时候，"
    "系统先找出相关的段落，然后根据这些段落回答问题。"
)


def read(path: Path, **limits):
    return list(load(Source(path, path.name), LoadSettings(**limits)))


def document(path: Path, **limits) -> Document:
    [found] = read(path, **limits)
    assert isinstance(found, Document), found
    return found


def reason(path: Path, **limits) -> str:
    [found] = read(path, **limits)
    assert isinstance(found, Skipped), found
    assert found.path == str(path)
    return found.reason


def test_plain_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree")
    found = document(path)
    assert (found.text, found.id, found.path) == ("one\ntwo\nthree", "a.txt", str(path))
    assert found.metadata == {"format": "text"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_chinese_in_every_known_encoding(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(CHINESE.encode(encoding))
    assert document(path).text == CHINESE


@pytest.mark.parametrize("encoding", ["shift_jis", "euc_jp", "euc_kr", "latin-1", "cp1251"])
def test_other_encodings_are_found(tmp_path, encoding):
    texts = {
        "shift_jis": "名前,年齢,住所\n佐藤太郎,30,東京\n三木英子,25,大阪\n",
        "euc_jp": "これは日本語の文章です。東京に住んでいます。",
        "euc_kr": "이것은 한국어 문장입니다. 서울에 살고 있습니다.",
        "latin-1": "Größe, Höhe, ça va, naïve café, über Straße",
        "cp1251": "Это предложение на русском языке.",
    }
    path = tmp_path / "a.log"
    path.write_bytes(texts[encoding].encode(encoding))
    assert document(path).text == texts[encoding]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t ", "holds no text"),
        ("a.bin", bytes(range(256)) * 4, "not"),
        ("a.txt", b"ab\x00\x01\x02cd" * 50, "not text"),
        ("a.docx", b"PK\x03\x04rest", "not a whole .docx file"),
        ("a.epub", b"PK\x03\x04rest", "not a whole .epub file"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "an old Office file (.doc); save it as"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "encrypted"),
        ("a.txt", b"PK\x03\x04rest", "ZIP"),
        ("a.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "Outlook"),
        ("a.txt", b"\x89PNG\r\n", "image"),
        ("a.pdf", b"%PDF-1.4 broken", "not a readable PDF"),
        ("a.pdf", b"not a pdf at all", "not a readable PDF"),
        ("a.ipynb", b"{}", "not a Jupyter notebook"),
        ("a.ipynb", b'{"cells": 3}', "not a Jupyter notebook"),
        ("a.ipynb", b"[" * 100_000, "not a Jupyter notebook"),
        ("a.txt", b"\xff\xfea\x00\x00", "UTF-16"),
        ("a.html", b"<html><script>var x</script></html>", "holds no text"),
        ("a.jsonl", b"\n\n", "holds no text"),
        ("corpus.jsonl", b"\n\n", "empty"),
        ("corpus.jsonl", b'{"id": 1}', 'line 1: no document; expected {"_id"'),
        ("a.jsonl", b"nonsense", "line 1: not JSON"),
    ],
)
def test_what_cannot_be_read_has_a_reason(tmp_path, name, data, expected):
    path = tmp_path / name
    path.write_bytes(data)
    assert expected in reason(path)


def test_markdown_has_its_heading_as_title(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("intro\n\n# The *guide* #\n\ntext")
    assert (document(path).title, document(path).metadata["format"]) == ("The guide", "markdown")
    path.write_text('---\ntitle: "From the front"\n---\n# Heading\n')
    assert document(path).title == "From the front"


def test_html_becomes_visible_text_with_headings(tmp_path):
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title> A  page </title><style>p{}</style></head><body><nav>menu</nav><h1>Top</h1>"
        "<p>One <b>bold</b>\nword.</p><!-- hidden --><ul><li>first</li><li>second</li></ul>"
        "<table><tr><td>a</td><td>b</td></tr></table><pre>x\n  y</pre><script>evil()</script></body></html>"
    )
    found = document(path)
    assert found.title == "A page"
    assert found.text == ("# Top\n\nOne bold word.\n\n- first\n- second\n\n| a | b |\n\n```\nx\n  y\n```")


def test_html_says_its_encoding(tmp_path):
    path = tmp_path / "a.html"
    path.write_bytes(f'<meta charset="gbk"><p>{CHINESE}</p>'.encode("gbk"))
    assert document(path).text == CHINESE


def test_deeply_nested_html_is_no_crash(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("<div>" * 50_000 + "deep" + "</div>" * 50_000)
    assert read(path)


def test_pdf_keeps_its_pages(tmp_path):
    path = pdf(tmp_path / "a.pdf", ["First page here.", "", "Third page here."], title="The title")
    found = document(path)
    assert (found.title, found.metadata["format"]) == ("The title", "pdf")
    assert len(found.page_starts) == 3
    assert found.page_at(found.text.index("First")) == 1
    assert found.page_at(found.text.index("Third")) == 3


def test_a_scan_is_refused(tmp_path):
    assert "without text (2 pages, a scan?)" in reason(pdf(tmp_path / "a.pdf", ["", ""]))


def test_a_pdf_is_known_by_its_first_bytes(tmp_path):
    assert "text" in document(pdf(tmp_path / "report", ["Some text."])).text


def test_limits_are_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x" * 2_000_000)
    assert "2 MB, more than max_file_mb=1; split it, or raise --max-file-mb" in reason(path, max_file_mb=1)
    assert "more than max_characters=1000" in reason(path, max_characters=1000)
    many = pdf(tmp_path / "a.pdf", ["page"] * 5)
    assert "5 pages, more than max_pages=3" in reason(many, max_pages=3)
    assert "by page 3" in reason(many, max_characters=10)


def test_a_notebook_is_its_cells(tmp_path):
    path = tmp_path / "a.ipynb"
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": "1\n"}]},
        {"cell_type": "raw", "source": "as it is"},
    ]
    path.write_text(json.dumps({"cells": cells}))
    assert (document(path).text, document(path).title) == (
        "# Title\ntext\n\nprint(1)\n\n1\n\nas it is",
        "Title",
    )


def test_a_corpus_has_a_document_a_line(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [
        {"_id": "d1", "title": "One", "text": "first", "metadata": {"year": 2020, "deep": {}}},
        {"_id": 2, "text": "second \ud800"},
        {"_id": "d3", "title": "only a title", "text": ""},
    ]
    path.write_text("\ufeff" + "\n".join(map(json.dumps, lines)) + "\n\n")
    one, two, three = read(path)
    assert (one.id, one.title, one.text, one.path) == ("d1", "One", "first", str(path))
    assert one.metadata == {"year": 2020, "format": "corpus"}
    assert (two.id, two.text) == ("2", "second \ufffd")
    assert three.text == "only a title"


def test_a_bad_line_of_a_corpus_is_skipped_with_its_number(tmp_path):
    path = tmp_path / "corpus.jsonl"
    good = '{"_id": "a", "text": "one"}\n'
    path.write_text(
        good + "nonsense\n" + "x" * 1_100_000 + "\n" + '{"_id": "b", "text": "two"}\n{"_id": "c"}'
    )
    found = read(path, max_line_mb=1)
    assert [item.id for item in found if isinstance(item, Document)] == ["a", "b"]
    skipped = [item for item in found if isinstance(item, Skipped)]
    assert [item.path for item in skipped] == [f"{path}:{n}" for n in (2, 3, 5)]
    assert "not JSON" in skipped[0].reason
    assert "max_line_mb=1" in skipped[1].reason


# --- folders ----------------------------------------------------------------------------------------


def test_folders_are_read_in_sorted_order_without_hidden_files(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/b.txt", ".git/config", ".hidden", "c/d/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [source.id for source in sources([tmp_path])] == ["a/b.txt", "a/z.txt", "b.txt", "c/d/e.txt"]


def test_a_file_has_its_name_as_id(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert [source.id for source in sources([tmp_path / "a.txt"])] == ["a.txt"]


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to("self")
    found = list(sources([tmp_path]))
    assert [item.id for item in found if isinstance(item, Source)] == ["a/x.txt", "self"]
    assert ["link" in item.reason for item in found if isinstance(item, Skipped)] == [True]
    assert "cannot be read" in reason(tmp_path / "self")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not an ordinary file" in reason(tmp_path / "pipe")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
@pytest.mark.parametrize("name", ["资料.md".encode("gbk"), "資料".encode("shift-jis") + b"/a.md"])
def test_a_name_that_is_not_utf8_is_refused(tmp_path, name):
    """As archives from other systems are unpacked."""
    path = Path(os.fsdecode(os.fsencode(tmp_path / "given") + b"/" + name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    (tmp_path / "given" / "b.md").write_text("text")
    loaded = [item for source in sources([tmp_path / "given"]) for item in load(source, LoadSettings())]
    assert [item.reason for item in loaded if isinstance(item, Skipped)] == [
        "its name, or a folder's above it, is not UTF-8; rename it"
    ]
    assert [item.id for item in loaded if isinstance(item, Document)] == ["b.md"]


def test_a_dangling_link_and_a_vanished_file_have_reasons(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    assert "cannot be read" in reason(tmp_path / "link")
    assert "cannot be read" in reason(tmp_path / "gone.txt")


def test_pdfs_can_be_read_from_threads(tmp_path):
    path = pdf(tmp_path / "a.pdf", [f"Page {n}." for n in range(20)])
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(document(path).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 4
    assert len(set(texts)) == 1


@pytest.mark.shared
def test_every_file_of_the_shared_folder_is_read_or_refused(shared):
    found = [item for source in sources([shared / "data" / "docs"]) for item in load(source, LoadSettings())]
    read_ids = {item.id for item in found if isinstance(item, Document)}
    refused = {Path(item.path).name: item.reason for item in found if isinstance(item, Skipped)}
    assert len(found) == len(list((shared / "data" / "docs").iterdir()))
    assert set(refused) == {"MEDRPT-2024-PAT-3847_medical_report_scan.pdf", "random.bin"}
    assert len(read_ids) == len(found) - 2
    assert "scan" in refused["MEDRPT-2024-PAT-3847_medical_report_scan.pdf"]
    assert "not" in refused["random.bin"]
