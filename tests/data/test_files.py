"""Files of every kind become rows with their places; what cannot be read is said with file and line."""

import csv
import json
import sys
from pathlib import Path

import pytest

from weightwright.data.catalogue import fingerprint, tables_at
from weightwright.data.files import read_file
from weightwright.errors import DataError, MissingExtraError
from weightwright.extras import installed

ROWS = [{"instruction": "a", "output": "b"}, {"instruction": 'c, "d"\nnext', "output": "é中"}]


def written(file: Path, content: str) -> Path:
    file.write_text(content, encoding="utf-8", newline="")
    return file


def as_csv(file: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return file


def test_csv_and_tsv_read_as_json_does(tmp_path):
    expected = list(read_file(written(tmp_path / "rows.json", json.dumps(ROWS))))
    for file in (as_csv(tmp_path / "rows.csv", ROWS), as_csv(tmp_path / "rows.tsv", ROWS, "\t")):
        assert [row.values for row in read_file(file)] == [row.values for row in expected] == ROWS


def test_a_csv_row_stands_where_it_begins_and_may_be_long(tmp_path):
    rows = [{"text": "one\ntwo"}, {"text": "x" * 200_000}]
    first, second = read_file(as_csv(tmp_path / "rows.csv", rows))
    assert [str(row.place) for row in (first, second)] == [f"{tmp_path}/rows.csv, line {n}" for n in (2, 4)]
    assert len(second.values["text"]) == 200_000


def test_csv_knows_nested_fields_and_truth_values(tmp_path):
    turns = [{"role": "user", "content": "a"}]
    for cell, label in (("True", True), ("1", True), ("0", False), ("sports", "sports")):
        file = as_csv(tmp_path / "rows.csv", [{"messages": json.dumps(turns), "label": cell}])
        (row,) = read_file(file)
        assert (row.get("messages"), row.get("label")) == (turns, label)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2,3\n", "line 2: 3 cells where the first line names 2"),
        ("a,b\n1\n", "line 2: 1 cells where the first line names 2"),
        ("a,a\n1,2\n", "line 1: each column needs a name of its own, found: a, a"),
        ('a,b\n"1"x,2\n', "line 2: not valid CSV"),
        ("a,b\n", "is an empty list"),
    ],
)
def test_a_wrong_csv_is_named(tmp_path, content: str, message: str):
    with pytest.raises(DataError, match=message):
        list(read_file(written(tmp_path / "rows.csv", content)))


def test_a_row_of_a_json_list_knows_its_line(tmp_path):
    file = written(tmp_path / "rows.json", '[\n {"a": 1},\n\n {"a":\n 2}, {"a": 3}\n]\n')
    assert [str(row.place).removeprefix(f"{file}, ") for row in read_file(file)] == [
        "row 1 (line 2)",
        "row 2 (line 4)",
        "row 3 (line 5)",
    ]


def test_a_text_file_is_one_text(tmp_path):
    (row,) = read_file(written(tmp_path / "book.txt", "One.\r\n\r\nTwo.\n"))
    assert row.values == {"text": "One.\n\nTwo.\n"}
    lines = read_file(tmp_path / "book.txt", text_lines=True)
    assert [(line.values["text"], str(line.place)) for line in lines] == [
        ("One.", f"{tmp_path}/book.txt, line 1"),
        ("Two.", f"{tmp_path}/book.txt, line 3"),
    ]


def test_all_broken_rows_can_be_had(tmp_path):
    file = written(tmp_path / "rows.jsonl", '{"a": 1}\n{"a"\n[]\n{"a": 2}\n')
    broken: list[DataError] = []
    assert [row.values for row in read_file(file, broken=broken.append)] == [{"a": 1}, {"a": 2}]
    assert [str(error).removeprefix(f"{file}, ").split(":")[0] for error in broken] == ["line 2", "line 3"]


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_a_line_feed_ends_a_row(tmp_path, inside):
    said = f"one{inside}two"
    rows = read_file(written(tmp_path / "rows.csv", f'text\na\n"{said}"\n'))
    assert [(row.values["text"], row.place.line) for row in rows] == [("a", 2), (said, 3)]
    rows = read_file(written(tmp_path / "rows.txt", f"a\r\n{said}\n"), text_lines=True)
    assert [(row.values["text"], row.place.line) for row in rows] == [("a", 1), (said, 2)]
    if inside >= " ":  # JSON escapes the others
        text = json.dumps({"text": "a"}) + "\r\n" + json.dumps({"text": said}, ensure_ascii=False) + "\n"
        rows = read_file(written(tmp_path / "rows.jsonl", text))
        assert [(row.values["text"], row.place.line) for row in rows] == [("a", 1), (said, 2)]


def test_a_folder_of_files(tmp_path):
    for name, row in zip("ba", ROWS, strict=True):
        written(tmp_path / f"{name}.jsonl", json.dumps(row))
    written(tmp_path / "README.md", "what this is")
    written(tmp_path / ".hidden.csv", "")
    tables = tables_at(tmp_path)
    assert [Path(table.name).name for table in tables] == ["a.jsonl", "b.jsonl"]
    before = fingerprint(tmp_path)
    written(tmp_path / "b.jsonl", json.dumps({"instruction": "a", "output": "d"}))
    assert fingerprint(tmp_path) != before
    written(tmp_path / "c.csv", "a,b\n1,2\n")
    assert [Path(table.name).name for table in tables_at(tmp_path)] == ["a.jsonl", "b.jsonl", "c.csv"]


def test_a_folder_without_data(tmp_path):
    with pytest.raises(DataError, match=r"is a directory without rows to read .*found no file"):
        tables_at(tmp_path)


def test_parquet_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"pip install 'weightwright\[parquet\]'"):
        list(read_file(tmp_path / "rows.parquet"))


@pytest.mark.skipif(not installed("pyarrow"), reason="pyarrow is not installed (extra [parquet])")
def test_parquet_reads_as_json_does(tmp_path):
    import pyarrow
    import pyarrow.parquet

    turns = [
        {"role": "user", "content": "a", "weight": None},
        {"role": "assistant", "content": "b", "weight": 0},
    ]
    rows = [{"messages": turns, "good": True}, {"messages": turns[:1], "good": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = list(read_file(tmp_path / "rows.parquet"))
    without_null = [{"role": "user", "content": "a"}]
    assert [row.values for row in read] == [
        {"messages": [*without_null, turns[1]], "good": True},
        {"messages": without_null, "good": None},
    ]
    assert str(read[1].place) == f"{tmp_path}/rows.parquet, row 2"
    (tmp_path / "broken.parquet").write_bytes(b"no table at all")
    with pytest.raises(DataError, match="is not a Parquet file that can be read"):
        list(read_file(tmp_path / "broken.parquet"))
