"""Rows become conversations; each wrong row is named with its line and field."""

import json
from pathlib import Path

import pytest

from weightwright.data import grounded
from weightwright.data.formats import read_judged, read_pairs, read_parts, read_samples, read_texts
from weightwright.data.grounded import PromptSettings
from weightwright.data.sample import Text
from weightwright.errors import DataError, Place
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
        (
            [GOOD, {"instruction": "\ud83d", "output": "b"}],
            r"line 2: the text holds .\\ud83d., half of a surrogate",
        ),
        ([{**GOOD, "history": [["a"]]}], r"line 1: 'history' must be a list of \[question, answer\] pairs"),
        ([{"ask": "a"}], r"line 1: no known format has the fields ask; pairs: .*messages: .*alpaca: "),
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
        (b'[{"instruction": "a", "output": "b"},\n {]', r"line 2, column \d+: not valid JSON"),
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


def said(messages) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


USER, GOOD_TURN, BAD_TURN = (
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "good"},
    {"role": "assistant", "content": "bad"},
)
HUMAN = {"from": "human", "value": "q"}


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "chosen": "good", "rejected": "bad"},
        {"instruction": "", "input": "q", "chosen": "good", "rejected": "bad"},
        {
            "conversations": [HUMAN],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {"messages": [USER], "chosen": GOOD_TURN, "rejected": BAD_TURN},
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": [USER], "chosen": [GOOD_TURN], "rejected": [BAD_TURN]},
        {
            "prompt": "q",
            "chosen": [USER, GOOD_TURN],
            "rejected": [USER, BAD_TURN],
            "messages": [USER, GOOD_TURN],
        },
        {"chosen": [USER, GOOD_TURN], "rejected": [USER, BAD_TURN]},
    ],
    ids=["alpaca", "input", "sharegpt", "messages", "texts", "lists", "whole-and-prompt", "whole"],
)
def test_preference_pairs_in_every_form(tmp_path, row):
    (pair,) = read_pairs(lines(tmp_path, row))
    assert said(pair.chosen.messages) == [("user", "q"), ("assistant", "good")]
    assert said(pair.rejected.messages) == [("user", "q"), ("assistant", "bad")]
    assert pair.chosen.answers == pair.rejected.answers == (False, True)
    assert pair.place == Place(f"{tmp_path}/rows.jsonl", line=1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"chosen": [USER, GOOD_TURN], "rejected": [HUMAN | {"value": "r"}, BAD_TURN]},
            "differ before their last",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are the same; there is nothing to prefer"),
        ({"prompt": "q", "chosen": "a", "rejected": " "}, "'rejected' is empty"),
        ({"prompt": "q", "chosen": "a", "rejected": 1}, "'rejected' must be a text, found a number"),
        (
            {"prompt": "r", "chosen": [USER, GOOD_TURN], "rejected": "b"},
            "does not begin with the messages of 'prompt'",
        ),
        (
            {"chosen": [GOOD_TURN], "rejected": [BAD_TURN]},
            "nothing is asked before the answer in 'chosen'; a question stands in one of instruction, prompt",
        ),
        (
            {"prompt": "q", "chosen": [USER], "rejected": [USER]},
            "'chosen' must end with an assistant's answer",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "images": ["x.png"]}, "'images' cannot be learnt"),
    ],
)
def test_a_wrong_pair_is_named(tmp_path, row, message: str):
    with pytest.raises(DataError, match=message) as error:
        read_pairs(lines(tmp_path, row))
    assert str(error.value).startswith(f"{tmp_path}/rows.jsonl, line 1")


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "output": "good", "kto_tag": True},
        {"conversations": [HUMAN, {"from": "gpt", "value": "good"}], "kto_tag": True},
        {"messages": [USER, GOOD_TURN], "label": True},
        {"prompt": "q", "completion": "good", "label": True},
        {"prompt": [USER], "completion": [GOOD_TURN], "label": True},
    ],
)
def test_judged_answers_in_every_form(tmp_path, row):
    (judged,) = read_judged(lines(tmp_path, row))
    assert judged.good
    assert said(judged.sample.messages) == [("user", "q"), ("assistant", "good")]
    assert judged.sample.answers == (False, True)
    assert judged.place == judged.sample.place == Place(f"{tmp_path}/rows.jsonl", line=1)


def test_a_label_that_is_no_truth_value_is_no_judgement(tmp_path):
    row = {"messages": [USER, GOOD_TURN], "label": "sports"}
    assert [part.format.name for part in read_parts(lines(tmp_path, row))] == ["messages"]


def test_prompt_and_completion_are_a_conversation(tmp_path):
    (sample,) = read_samples(lines(tmp_path, {"prompt": "q", "completion": "a"}))
    assert said(sample.messages) == [("user", "q"), ("assistant", "a")]


def test_texts(tmp_path):
    file = lines(tmp_path, {"text": "one"}, {"text": "two", "id": 3})
    assert read_texts(file) == [
        Text("one", Place(str(file), line=1)),
        Text("two", Place(str(file), line=2), unread=("id",)),
    ]
    (tmp_path / "book.txt").write_text("a\n\nb")
    assert read_texts(tmp_path / "book.txt") == [Text("a\n\nb", Place(str(tmp_path / "book.txt")))]
    with pytest.raises(DataError, match="line 2: 'text' is empty"):
        read_texts(lines(tmp_path, {"text": "one"}, {"text": ""}))


CONVERSATION = {"instruction": "a", "output": "b"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
JUDGED = {"prompt": "q", "completion": "a", "label": False}
TEXT = {"text": "a"}


@pytest.mark.parametrize(
    ("row", "fits", "others"),
    [
        (CONVERSATION, "sft", (read_pairs, read_judged, read_texts)),
        (PAIR, "dpo, orpo or simpo", (read_samples, read_judged, read_texts)),
        (JUDGED, "kto", (read_samples, read_pairs, read_texts)),
        (TEXT, "pretrain", (read_samples, read_pairs, read_judged)),
    ],
)
def test_a_reader_refuses_another_kind_and_says_what_it_is_for(tmp_path, row, fits, others):
    file = lines(tmp_path, row)
    for read in others:
        with pytest.raises(DataError, match=f"rows.jsonl holds .* which fit --objective {fits}; --objective"):
            read(file)


@pytest.mark.shared
def test_real_pairs_and_tool_calls(shared):
    pairs = read_pairs(shared / "data" / "tune" / "dpo_en_demo.json")
    assert len(pairs) == 300
    assert all(pair.chosen.messages[:-1] == pair.rejected.messages[:-1] for pair in pairs)
    samples = read_samples(shared / "data" / "tune" / "glaive_toolcall_en_demo.json")
    assert len(samples) == 300
    assert sum(bool(m.tool_calls) for sample in samples for m in sample.messages) == 211
    assert sum(bool(sample.tools) for sample in samples) == 300 - 109
