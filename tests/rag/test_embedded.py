"""Files that lie in Office files as objects of other programs."""

import struct

import pytest

from weightwright.rag.readers.embedded import embedded_file

from .office import cell, docx, odf, paragraph, sheet, xlsx, zipped
from .ole import ole


def native(name: bytes, data: bytes) -> bytes:
    """A stream Ole10Native (MS-OLEDS 2.3.6)."""
    path = b"C:\\\\tmp\\\\" + name + b"\0"
    body = b"\x02\0" + name + b"\0" + path + b"\0\0\x03\0" + struct.pack("<I", len(path)) + path
    body += struct.pack("<I", len(data)) + data
    return struct.pack("<I", len(body)) + body


BOOK = xlsx({"S": sheet(cell("A1", "x"))})


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("word/embeddings/a.xlsx", BOOK, "a.xlsx"),
        ("ppt/embeddings/oleObject1.bin", ole({"Package": BOOK}), "oleObject1.xlsx"),
        ("ppt/embeddings/oleObject2.bin", ole({"Package": docx(paragraph("x"))}), "oleObject2.docx"),
        ("ppt/embeddings/oleObject3.bin", ole({"EmbeddedOdf": odf("")}), "oleObject3.odt"),
        ("ppt/embeddings/oleObject4.bin", ole({"CONTENTS": b"%PDF-1.7"}), "oleObject4.pdf"),
        (
            "xl/embeddings/oleObject5.bin",
            ole({"\x01Ole10Native": native(b"notes.txt", b"said")}),
            "notes.txt",
        ),
        ("xl/embeddings/oleObject6.bin", ole({"\x01Ole10Native": native(b"run.exe", b"MZ")}), None),
        ("xl/embeddings/oleObject7.bin", ole({"WordDocument": b"old"}), None),
        ("xl/embeddings/oleObject8.bin", ole({"Package": zipped({"a/b": "c"})}), None),
        ("xl/embeddings/oleObject9.bin", ole({"Package": b"no archive"}), None),
        ("xl/embeddings/oleObject10.bin", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 broken", None),
        ("xl/embeddings/old.xls", ole({"Workbook": b"x"}), None),
    ],
)
def test_what_an_object_holds(name, data, expected):
    found = embedded_file(name, data)
    assert (found.name if found is not None else None) == expected
    if expected == "notes.txt":
        assert found.data == b"said"
