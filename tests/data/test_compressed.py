"""Compressed files are read as what they hold; JSON that Python does not read is named by its row."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest

from weightwright.data.catalogue import tables_at
from weightwright.data.files import read_file
from weightwright.data.formats import read_samples
from weightwright.data.summary import check
from weightwright.errors import DataError
from weightwright.extras import installed

ROW = {"instruction": "a", "output": "é中"}
LINE = json.dumps(ROW, ensure_ascii=False).encode() + b"\n"
DEEP = "[" * 100_000 + "]" * 100_000
DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl.gz", gzip.compress(LINE)),
        ("rows.json.gz", gzip.compress(b"[" + LINE + b"]")),
        ("rows.csv.gz", gzip.compress("instruction,output\na,é中\n".encode())),
        ("rows.tsv.gz", gzip.compress("instruction\toutput\na\té中\n".encode())),
        ("rows.jsonl.bz2", bz2.compress(LINE)),
        ("rows.jsonl.xz", lzma.compress(LINE)),
        ("named-wrongly.jsonl", gzip.compress(LINE)),
        ("named-wrongly.jsonl.gz", LINE),
        ("ROWS.JSONL.GZ", gzip.compress(LINE)),
    ],
)
def test_a_compressed_file_reads_as_what_it_holds(tmp_path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    (table,) = tables_at(tmp_path)  # in a folder, too
    assert [row.values for row in table.read()] == [ROW]
    assert [row.values for row in read_file(tmp_path / name)] == [ROW]


@pytest.mark.skipif(not installed("pyarrow"), reason="pyarrow is not installed (extra [parquet])")
def test_zstandard_is_read_by_arrow(tmp_path):
    import pyarrow

    (tmp_path / "rows.jsonl.zst").write_bytes(pyarrow.Codec("zstd").compress(LINE * 3, asbytes=True))
    assert [row.place.line for row in read_file(tmp_path / "rows.jsonl.zst")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.jsonl.gz", gzip.compress(LINE * 1000)[:-20], "cannot be unpacked: .*it may be cut off"),
        ("bad.jsonl.gz", b"\x1f\x8b" + b"x" * 50, "cannot be unpacked"),
        ("rows.zip", b"PK\x03\x04abc", "is an archive or a spreadsheet; unpack it"),
        ("rows.tar.gz", gzip.compress(LINE), "is an archive or a spreadsheet; unpack it"),
        ("table.xlsx", b"PK\x03\x04abc", "is an archive or a spreadsheet; unpack it, or save it as .csv"),
        (
            "rows.feather",
            b"ARROW1\xff\xff",
            r"is not UTF-8 text \(byte 6\) \(files are read that are .json, ",
        ),
    ],
)
def test_what_cannot_be_unpacked_is_one_clear_line(tmp_path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} {message}") as error:
        list(read_file(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [(DEEP, "stand in each other too deeply"), (DIGITS, "a whole number of more than 4,300 digits")],
    ids=["deep", "digits"],
)
def test_json_that_python_does_not_read_is_named_by_its_row(tmp_path, value: str, message: str):
    good, bad = json.dumps(ROW), f'{{"instruction": "a", "output": "b", "x": {value}}}'
    (tmp_path / "rows.jsonl").write_text(f"{good}\n{bad}\n{good}\n")
    with pytest.raises(DataError, match=f"rows.jsonl, line 2: .*{message}"):
        read_samples(tmp_path / "rows.jsonl")
    found = check(tmp_path / "rows.jsonl")
    assert (found.rows, [one.place.line for one in found.broken]) == (2, [2])
    (tmp_path / "rows.json").write_text(f"[{good},\n{bad},\n{good}]")
    with pytest.raises(DataError, match=rf"rows.json, row 2 \(line 2\): .*{message}"):
        read_samples(tmp_path / "rows.json")


@pytest.mark.parametrize("value", [DEEP, DIGITS], ids=["deep", "digits"])
@pytest.mark.parametrize("field", ["tools", "arguments"])
def test_so_is_such_json_inside_a_text(tmp_path, field: str, value: str):
    text = f'{{"name": "f", "x": {value}}}'
    call = {"function": {"name": "f", "arguments": text if field == "arguments" else "{}"}}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]
    row = {"messages": turns, "tools": f"[{text}]" if field == "tools" else "[]"}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    with pytest.raises(DataError, match=rf"line 1.*{field}': (lists or objects|a whole number)"):
        read_samples(file)


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_nearly_too_deep_is_a_row_or_a_clear_line(tmp_path, depth: int):
    call = f'{{"function": {{"name": "f", "arguments": {{"a": {"[" * depth + "]" * depth}}}}}}}'
    turns = f'[{{"role": "user", "content": "a"}}, {{"role": "assistant", "tool_calls": [{call}]}}]'
    file: Path = tmp_path / "rows.jsonl"
    file.write_text(f'{{"messages": {turns}}}')
    try:
        assert read_samples(file)[0].messages[1].tool_calls[0].name == "f"
    except DataError as error:
        assert "line 1: lists or objects stand in each other too deeply" in str(error)  # noqa: PT017
