"""Rows become conversations; each wrong row is named with its line and field."""

import json
from pathlib import Path

import pytest

from weightwright.data import grounded
from weightwright.data.formats import read_samples
from weightwright.data.grounded import PromptSettings
from weightwright.errors import DataError
from weightwright.ports import Message


def lines(folder: Path, *rows: object) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_alpaca_with_system_and_history(tmp_path):
    row = {
        "instruction": "Translate",
        "input": "cat",
        "output": "chat",
        "system": "Be brief.",
        "history": [["Hi", "Hello"]],
    }
    (sample,) = read_samples(lines(tmp_path, row))
    assert sample.messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Translate\ncat"),
        Message("assistant", "chat"),
    )
    assert sample.answers == (False, False, True, False, True)


def test_messages_with_a_weight_of_zero_carry_no_loss(tmp_path):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    (sample,) = read_samples(lines(tmp_path, {"messages": turns}))
    assert sample.answers == (False, False, False, True)


def test_grounded_rows_are_asked_in_the_words_of_the_answering_prompt(tmp_path):
    prompt = PromptSettings(instruction="Use the sources.")
    rows = (
        {"question": "Who?", "passages": ["Ann did."], "answer": "Ann [1]"},
        {"question": "谁？", "answer": "安"},
    )
    with_passage, without = read_samples(lines(tmp_path, *rows), prompt)
    assert with_passage.messages[:-1] == grounded.messages("Who?", ["Ann did."], prompt)
    assert without.messages[:-1] == grounded.messages("谁？", [], prompt)
    assert with_passage.messages[-1] == Message("assistant", "Ann [1]")


def test_a_json_list_reads_as_json_lines_do(tmp_path):
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]
    file = tmp_path / "rows.json"
    file.write_text("\ufeff" + json.dumps(rows, indent=2), encoding="utf-8")
    assert [s.messages for s in read_samples(file)] == [
        s.messages for s in read_samples(lines(tmp_path, *rows))
    ]


GOOD = {"instruction": "a", "output": "b"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, {"instruction": "a"}], r"line 2: field 'output' is missing.*the row has: instruction"),
        ([GOOD, {"instruction": "a", "output": 3}], r"line 2: 'output' must be a text, found a number"),
        ([GOOD, {"instruction": "a", "output": " "}], r"line 2: 'output' is empty"),
        ([GOOD, ["a"]], r"line 2: a row must be an object.*found a list"),
        ([{**GOOD, "history": [["a"]]}], r"line 1: 'history' must be a list of \[question, answer\] pairs"),
        ([{"prompt": "a"}], r"line 1: no known format has the fields prompt; messages: .*alpaca: "),
        ([{"messages": []}], r"line 1: 'messages' must be a list of at least one"),
        ([{"messages": [{"role": "bot", "content": ""}]}], r"line 1, message 1: role 'bot' is not one of"),
        ([{"messages": [{"role": "user"}]}], r"line 1, message 1: field 'content' is missing"),
        ([{"question": "a", "passages": "b", "answer": "c"}], r"'passages' must be a list of texts"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, rows: list, message: str):
    with pytest.raises(DataError, match=message):
        read_samples(lines(tmp_path, *rows))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"[]", "empty list"),
        (b'{"instruction": "a"', r"line 1: not valid JSON.*one object a line"),
        (b'[{"a": 1},\n {]', r"line 2, column \d+: not valid JSON"),
        ("é".encode("latin-1") + b"abc", "is not UTF-8 text"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, content: bytes, message: str):
    file = tmp_path / "rows.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_samples(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_directory_and_an_absent_file(tmp_path):
    with pytest.raises(DataError, match="is a directory"):
        read_samples(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_samples(tmp_path / "absent.json")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows"), [("alpaca_en_demo", 999), ("alpaca_zh_demo", 1000), ("identity", 91)]
)
def test_real_files(shared, name: str, rows: int):
    assert len(read_samples(shared / "data" / "tune" / f"{name}.json")) == rows
