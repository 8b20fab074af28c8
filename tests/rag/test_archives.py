"""Mails with attachments, archives within limits, and where in a file a citation stands."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from email.message import EmailMessage

import pytest

from weightwright.ports import Document
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase
from weightwright.rag.extract import Extract
from weightwright.rag.load import Skipped, load, sources
from weightwright.rag.readers.base import own_reader
from weightwright.rag.settings import LoadSettings

from .office import cell, docx, paragraph, sheet, xlsx, zipped


def read(path, **settings):
    found = [item for source in sources([path]) for item in load(source, LoadSettings(**settings))]
    return (
        {item.id: item for item in found if isinstance(item, Document)},
        {item.path.rpartition("/")[2]: item.reason for item in found if isinstance(item, Skipped)},
    )


def mail(subject="Leave", **more) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.com>"
    message["To"] = "bob@example.com"
    message["Subject"] = subject
    message["Date"] = "Mon, 30 Nov 2026 09:00:00 +0000"
    for name, value in more.items():
        message[name] = value
    return message


def test_a_mail_has_who_when_and_what_and_its_attachments_are_documents(tmp_path):
    message = mail("年假 2026")
    message.set_content("Everybody has 27 days.\n")
    message.add_alternative("<p>Everybody has <b>27</b> days.</p>", subtype="html")
    message.add_attachment(
        docx(paragraph("In Word.")), maintype="application", subtype="x", filename="a.docx"
    )
    message.add_attachment(b"one", maintype="text", subtype="plain", filename="same.txt")
    message.add_attachment(b"two", maintype="text", subtype="plain", filename="same.txt")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="logo.png")
    inner = mail("Forwarded")
    inner.set_content("Inside.")
    message.add_attachment(inner)
    (tmp_path / "m.eml").write_bytes(message.as_bytes())
    documents, skipped = read(tmp_path)
    assert documents["m.eml"].text == (
        "# 年假 2026\n\nFrom: Ann <ann@example.com>\nTo: bob@example.com\nDate: Mon, 30 Nov 2026 09:00:00 +0000\n"
        "Attachments: a.docx, same.txt, same.txt, logo.png, Forwarded.eml\n\nEverybody has 27 days."
    )
    assert {name: document.text for name, document in documents.items() if name != "m.eml"} == {
        "m.eml/a.docx": "In Word.", "m.eml/same.txt": "one", "m.eml/same (2).txt": "two",
        "m.eml/Forwarded.eml": "# Forwarded\n\nFrom: Ann <ann@example.com>\nTo: bob@example.com\n"
        "Date: Mon, 30 Nov 2026 09:00:00 +0000\n\nInside.",
    }  # fmt: skip
    assert documents["m.eml/a.docx"].path == f"{tmp_path}/m.eml/a.docx"
    assert "image" in skipped["logo.png"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            b"Content-Type: text/plain; charset=gb2312\nContent-Transfer-Encoding: base64\n\n1LG5pMTqvNk=\n",
            "员工年假",
        ),
        (
            b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
            b"27=20da=\nys\n",
            "27 days",
        ),
        (b"Content-Type: text/html\n\n<p>one<p style=display:none>two", "one"),
        (b"\n27 days\n", "27 days"),
        (b"Content-Type: text/plain; charset=no-such\n\ncaf\xc3\xa9", "café"),
        (
            b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nfirst\n--x\nContent-Type: text/plain\n\nsecond\n",
            "second",
        ),
        (
            b"Content-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/html\n\n<b>h</b>\n--x--",
            "h",
        ),
    ],
    ids=range(7),
)
def test_bodies_of_mails(raw, expected):
    data = b"From: a@b\nSubject: =?utf-8?b?5bm05YGH?=\n" + raw
    found = own_reader("eml")(data, LoadSettings())
    assert found.text.startswith("# 年假\n\nFrom: a@b\n\n")
    assert found.text.endswith(expected)


@pytest.mark.parametrize(
    "before",
    [
        b"From ann Mon Nov 30 09:00:00 2026\n",
        b"220 mail.example.com ESMTP\n\n",
        b"X-Env: 1\nno header\n",
        b"X-Odd: y\n",
    ],
)
def test_lines_before_a_mails_headers_are_passed_over(before):
    found = own_reader("eml")(before + b"From: a@b\nSubject: Leave\n\n27 days", LoadSettings())
    assert found.text == "# Leave\n\nFrom: a@b\n\n27 days"


def test_a_mail_of_attachments_alone_is_read(tmp_path):
    message = mail("Files")
    message.make_mixed()
    message.add_attachment(b"27 days", maintype="text", subtype="plain", filename="a.txt")
    (tmp_path / "m.eml").write_bytes(message.as_bytes())
    assert {name: document.text.split("\n")[0] for name, document in read(tmp_path)[0].items()} == {
        "m.eml": "# Files", "m.eml/a.txt": "27 days",
    }  # fmt: skip


def test_archives_are_read_file_by_file(tmp_path):
    inside = {
        "文档/说明.md": "# 年假\n\n二十五天", "b/a.txt": "text", "b/.hidden": "no", "__MACOSX/b": "no",
        "empty.txt": "",
        "x.docx": docx(paragraph("In Word.")), "deep.zip": zipped({"deeper.zip": zipped({"n.txt": "nested"})}),
        "../out.txt": "escape", "/abs.txt": "escape", "big.txt": "x" * 2_000_000, "pic.png": b"\x89PNG",
    }  # fmt: skip
    (tmp_path / "a.zip").write_bytes(zipped(inside))
    documents, skipped = read(tmp_path, max_file_mb=1)
    assert {name: document.text for name, document in documents.items()} == {
        "a.zip/b/a.txt": "text", "a.zip/deep.zip/deeper.zip/n.txt": "nested", "a.zip/x.docx": "In Word.",
        "a.zip/文档/说明.md": "# 年假\n\n二十五天",
    }  # fmt: skip
    reasons = {"empty.txt": "empty", "out.txt": "out of the archive", "abs.txt": "out of the archive",
               "big.txt": "max_file_mb=1", "pic.png": "image"}  # fmt: skip
    assert set(skipped) == set(reasons)
    assert all(reason in skipped[name] for name, reason in reasons.items())
    assert "max_nesting=1" in read(tmp_path, max_nesting=1)[1]["deeper.zip"]
    assert documents["a.zip/b/a.txt"].modified


def test_limits_of_archives(tmp_path):
    (tmp_path / "many.zip").write_bytes(zipped({f"{n}.txt": "x" for n in range(20)}))
    assert "max_members=10" in read(tmp_path / "many.zip", max_members=10)[1]["many.zip"]
    (tmp_path / "bomb.zip").write_bytes(zipped({f"{n}.txt": "ab " * 300_000 for n in range(5)}))
    documents, skipped = read(tmp_path / "bomb.zip", max_unpacked_mb=2)
    assert len(documents) == 2
    assert "max_unpacked_mb=2" in skipped["bomb.zip"]
    (tmp_path / "none.zip").write_bytes(zipped({}))
    assert "without files" in read(tmp_path / "none.zip")[1]["none.zip"]


def test_a_locked_member_is_named(tmp_path):
    data = bytearray(zipped({"a.txt": "text"}))
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + flags] |= 1
    (tmp_path / "a.zip").write_bytes(bytes(data))
    assert "encrypted" in read(tmp_path)[1]["a.txt"]


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.tar", bytes), ("a.tar.gz", gzip.compress), ("a.tgz", gzip.compress), ("a.tar.bz2", bz2.compress),
     ("a.tar.xz", lzma.compress)],
)  # fmt: skip
def test_tar_archives(tmp_path, name, pack):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("./notes/a.md")
        info.size = 7
        archive.addfile(info, io.BytesIO(b"27 days"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / name).write_bytes(pack(out.getvalue()))
    documents, skipped = read(tmp_path)
    assert {key: document.text for key, document in documents.items()} == {f"{name}/notes/a.md": "27 days"}
    assert "link" in skipped["link"]


def test_names_of_another_system_are_read(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("XXXXXXXX.txt", "text")
    data = out.getvalue().replace(b"XXXXXXXX", "员工年假".encode("gbk"))
    (tmp_path / "a.zip").write_bytes(data)
    assert list(read(tmp_path)[0]) == ["a.zip/员工年假.txt"]


@pytest.mark.parametrize(("name", "pack"), [("a.md.bz2", bz2.compress), ("a.md.xz", lzma.compress)])
def test_other_packings(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(b"# Leave\n\n27 days"))
    assert read(tmp_path)[0][name].metadata["format"] == "markdown"
    (tmp_path / name).write_bytes(pack(b"x" * 3_000_000))
    assert "max_file_mb=1" in read(tmp_path, max_file_mb=1)[1][name]


def test_an_office_file_is_known_by_what_is_in_it(tmp_path):
    (tmp_path / "report").write_bytes(docx(paragraph("In Word.")))
    (tmp_path / "sheet.dat").write_bytes(xlsx({"S": sheet(cell("A1", "In Excel."))}))
    assert {d.metadata["format"] for d in read(tmp_path)[0].values()} == {"docx", "xlsx"}


# --- tables and records --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "first", "labels"),
    [
        (b"a,b\n1,2\n", "| a | b |", ["line 1", "line 2"]),
        ("名前;年齢\n髙橋;30\n".encode("cp932"), "| 名前 | 年齢 |", ["line 1", "line 2"]),
        (b"a\tb\n1\t2\n", "| a | b |", ["line 1", "line 2"]),
        (b'a,b\n"x\ny",2\n3,4\n', "| a | b |", ["line 1", "line 2", "line 4"]),
        (b"sep=;\na;b\n1,5;2\n", "| a | b |", ["line 2", "line 3"]),
        (b"a|b\n1|2\n", "| a | b |", ["line 1", "line 2"]),
        ("a,b\n1,2\n".encode("utf-16"), "| a | b |", ["line 1", "line 2"]),
        (b'a,b\n"broken,1\n' + b"1,2\n" * 150, "| a | b |", [f"line {n}" for n in range(1, 153)]),
    ],
    ids=range(8),
)
def test_tables_of_any_delimiter(data, first, labels):
    found = own_reader("csv")(data, LoadSettings())
    assert found.text.split("\n")[0] == first
    assert [place.label for place in found.places] == labels


def test_records_of_json_lines_that_are_no_corpus(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"id": 1, "t": "\\u5e74\\u5047"}\n\n{"id": 2}\nbroken\n')
    [document] = read(tmp_path)[0].values()
    assert document.text == '{"id": 1, "t": "年假"}\n{"id": 2}\nbroken'
    assert [place.label for place in document.places] == ["line 1", "line 3", "line 4"]


# --- places ---------------------------------------------------------------------------------------------


def test_a_citation_says_where_in_its_file_it_stands(store, embedder, tmp_path):
    rows = [
        cell("A1", "Item") + cell("B1", "Price"),
        cell("A2", "The ferry ticket costs") + cell("B2", "40 euros"),
    ]
    (tmp_path / "costs.xlsx").write_bytes(xlsx({"Fees": sheet(*rows)}))
    (tmp_path / "notes.txt").write_text("First line here.\n\nThe laboratory stands in Dulvenny.\n")
    index.add(store, embedder, [tmp_path])
    knowledge = KnowledgeBase(store, None)
    knowledge.settings = knowledge.settings.model_copy(
        update={"retrieve": knowledge.settings.retrieve.model_copy(update={"mode": "terms"})}
    )
    [hit] = knowledge.search("Dulvenny", 1)
    assert [place.label for place in hit.chunk.places] == ["line 1", "line 2", "line 3"]
    for question, place in (
        ("Where does the laboratory stand?", "line 3"),
        ("What does the ferry ticket cost?", 'sheet "Fees", row 2'),
    ):
        completion = knowledge.answer(Extract(), question)
        assert [citation.place for citation in completion.citations] == [place]
    [info] = [info for info in store.documents() if info.id == "notes.txt"]
    assert info.modified.endswith("Z")


def test_syncing_a_folder_follows_archives(store, embedder, tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"one.txt": "first", "two.txt": "second"}))
    assert index.sync(store, embedder, tmp_path).documents == 2
    assert index.sync(store, embedder, tmp_path).unchanged == 2
    (tmp_path / "a.zip").write_bytes(zipped({"one.txt": "first"}))
    report = index.sync(store, embedder, tmp_path)
    assert (report.unchanged, report.removed) == (1, 1)
    assert index.remove(store, [str(tmp_path / "a.zip")]).documents == 1
