"""Which fields of a row are read: questions and system texts by their usual names, marks, and what nothing reads."""

import csv
import json
from pathlib import Path

import pytest

from weightwright.data.checks import say_unread
from weightwright.data.formats import read_judged, read_pairs, read_parts, read_samples, read_texts
from weightwright.data.sample import Pair
from weightwright.data.summary import check
from weightwright.errors import DataError
from weightwright.extras import installed
from weightwright.ports import Message

ASKED = [("user", "q"), ("assistant", "good")]
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]
BAD = [TURNS[0], {"role": "assistant", "content": "bad"}]


def lines(folder: Path, *rows: object) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def as_csv(folder: Path, *rows: dict[str, str]) -> Path:
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "rows.csv"


def said(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


# -- questions and system texts --------------------------------------------------------------------


@pytest.mark.parametrize("system", ["system", "system_prompt", "system_message"])
@pytest.mark.parametrize("question", ["prompt", "question", "query", "input", "instruction"])
def test_the_question_of_a_pair_stands_in_any_of_its_usual_fields(tmp_path, question: str, system: str):
    row = {system: "Be kind.", question: "q", "chosen": "good", "rejected": "bad"}
    (pair,) = read_pairs(lines(tmp_path, row))
    assert said(pair.chosen.messages) == [("system", "Be kind."), *ASKED]
    assert said(pair.rejected.messages) == [("system", "Be kind."), ("user", "q"), ("assistant", "bad")]
    assert pair.unread == ()


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS, "rejected_response": "bad"},
        {"messages": TURNS, "rejected_messages": BAD},
        {"instruction": "q", "chosen_response": "good", "rejected_response": "bad"},
        {"question": "q", "chosen": TURNS, "rejected": BAD},
        {"prompt": "", "question": "q", "chosen": "good", "rejected": "bad"},
        {"messages": None, "prompt": "q", "chosen": "good", "rejected": "bad"},
    ],
    ids=["ms-swift", "ms-swift-turns", "argilla", "whole", "empty-prompt", "null-messages"],
)
def test_pairs_as_other_trainers_name_them(tmp_path, row: dict):
    (pair,) = read_pairs(lines(tmp_path, row))
    assert said(pair.chosen.messages) == ASKED
    assert said(pair.rejected.messages) == [("user", "q"), ("assistant", "bad")]
    assert pair.unread == ()


def test_a_system_text_beside_whole_conversations(tmp_path):
    row = {"system": "Be kind.", "question": "q", "chosen": TURNS, "rejected": BAD}
    (pair,) = read_pairs(lines(tmp_path, row))
    assert said(pair.chosen.messages) == [("system", "Be kind."), *ASKED]


@pytest.mark.parametrize(
    "row",
    [
        {"task": "q", "chosen": "good", "rejected": "bad"},
        {"system": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": " ", "chosen": "good", "rejected": "bad"},
    ],
)
def test_a_pair_that_asks_nothing_is_refused(tmp_path, row: dict):
    names = ", ".join(row)
    with pytest.raises(DataError, match=f"line 1: nothing is asked before the answer.*the row has: {names}$"):
        read_pairs(lines(tmp_path, row))


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "response": "good"},
        {"query": "q", "response": "good"},
        {"question": "q", "output": "good"},
        {"input": "q", "output": "good"},
    ],
)
def test_questions_and_answers_in_others_names(tmp_path, row: dict):
    (sample,) = read_samples(lines(tmp_path, row))
    assert (said(sample.messages), sample.answers) == (ASKED, (False, True))


def test_answers_in_a_history_are_learnt_and_those_in_a_prompt_of_turns_are_not(tmp_path):
    history = {"query": "q", "response": "good", "history": [["a", "b"]]}
    turns = {"prompt": [*BAD, TURNS[0]], "completion": "good"}
    first, second = (read_samples(lines(tmp_path, row))[0] for row in (history, turns))
    assert said(first.messages) == [("user", "a"), ("assistant", "b"), *ASKED]
    assert (first.answers, second.answers) == ((False, True, False, True), (False, False, False, True))


def test_what_pandas_marks_as_absent_is_absent(tmp_path):
    row = {
        "instruction": "q",
        "output": "good",
        "input": float("nan"),
        "system": float("nan"),
        "id": float("nan"),
    }
    (sample,) = read_samples(lines(tmp_path, row))
    assert (said(sample.messages), sample.unread) == (ASKED, ())


# -- what nothing reads ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"question": "q", "answer": "a", "context": "c"}, ("context",)),
        ({"instruction": "q", "output": "a", "choices": ["x"], "text": "t"}, ("choices", "text")),
        ({"messages": TURNS, "id": 0, "empty": "", "null": None, "none": [], "blank": " "}, ("id",)),
        ({"messages": [TURNS[0], TURNS[1] | {"emotion": "glad"}]}, ("messages.emotion",)),
        ({"messages": [TURNS[0] | {"train": True}, TURNS[1]]}, ("messages.train",)),
        (
            {"conversations": [{"from": "human", "value": "q", "name": "x"}, TURNS[1]]},
            ("conversations.name",),
        ),
        ({"prompt": "q", "completion": "a", "input": "more"}, ("input",)),
        ({"prompt": "q", "question": "r", "chosen": "a", "rejected": "b"}, ("question",)),
        ({"prompt": "q", "completion": "a", "label": True, "reason": "r"}, ("reason",)),
        ({"text": "t", "title": "x"}, ("title",)),
        ({"prompt": "q", "completion": "a", "system": "s", "system_prompt": "p"}, ("system_prompt",)),
        ({"messages": TURNS, "label": 3}, ("label",)),
    ],
    ids=str,
)
def test_a_filled_field_that_nothing_reads_is_named(tmp_path, row: dict, names: tuple[str, ...]):
    (part,) = read_parts(lines(tmp_path, row))
    assert [one.unread for one in part.read()] == [names]


def test_unread_fields_are_counted_for_the_reader(tmp_path):
    row = {"question": "q", "answer": "a"}
    file = lines(tmp_path, row | {"context": "c"}, row | {"answer": "b", "context": "d", "id": 1}, row)
    found = check(file)
    assert found.unread == {"context": 2, "id": 1}
    line = "filled fields that are not read: context (2 rows), id (1 row); "
    assert any(said.startswith(line) for said in found.verdict)
    assert say_unread(found.unread).startswith(line)


# -- marks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark",
    [
        {"loss": False}, {"train": False}, {"training": False}, {"trainable": False}, {"weight": 0}, {"weight": 0.0},
        {"loss_weight": 0}, {"loss_mask": 0}, {"masked": True}, {"loss": "false"}, {"train": "0"},
        {"training": "False"}, {"weight": 1, "loss": False},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("style", ["messages", "conversations"])
def test_an_answer_that_is_marked_is_not_learnt(tmp_path, mark: dict, style: str):
    turns = [*TURNS[:1], TURNS[1] | mark, *TURNS]
    if style == "conversations":
        turns = [
            {"from": t["role"], "value": t["content"], **{k: t[k] for k in mark if k in t}} for t in turns
        ]
    (sample,) = read_samples(lines(tmp_path, {style: turns}))
    assert sample.answers == (False, False, False, True)
    assert sample.unread == ()


@pytest.mark.parametrize(
    "mark",
    [{"loss": True}, {"loss": None}, {"weight": 1}, {"weight": ""}, {"masked": False}, {"train": "true"}],
    ids=str,
)
def test_other_marks_leave_it_to_be_learnt(tmp_path, mark: dict):
    (sample,) = read_samples(lines(tmp_path, {"messages": [TURNS[0], TURNS[1] | mark]}))
    assert (sample.answers, sample.unread) == ((False, True), ())


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ({"weight": 0.5}, "'weight' must be 1 or 0, or true or false, found 0.5"),
        ({"loss_mask": [0, 1]}, r"'loss_mask' must be 1 or 0, or true or false, found \[0, 1\]"),
        ({"train_detail": [{"train": False}]}, "'train_detail' marks parts of a turn"),
    ],
)
def test_a_mark_of_a_part_is_refused(tmp_path, mark: dict, message: str):
    with pytest.raises(DataError, match=f"line 1, message 2: {message}"):
        read_samples(lines(tmp_path, {"messages": [TURNS[0], TURNS[1] | mark]}))


def test_a_pair_of_a_marked_answer_is_refused(tmp_path):
    marked = [TURNS[1] | {"weight": 0}]
    with pytest.raises(DataError, match="the answer in 'chosen' is marked as not to be learnt"):
        read_pairs(lines(tmp_path, {"prompt": "q", "chosen": marked, "rejected": "bad"}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"messages": [*TURNS, TURNS[0], BAD[1] | {"content": ""}]},
            "message 4: the answer is empty; fill it",
        ),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " "}]}, "message 2: the answer is empty"),
        ({"messages": TURNS[:1]}, "no answer to learn: no assistant's turn, or each is marked"),
        ({"messages": [TURNS[0], TURNS[1] | {"loss": False}]}, "no answer to learn"),
    ],
)
def test_check_and_tune_judge_empty_answers_alike(tmp_path, row: dict, message: str):
    good = {"messages": TURNS}
    with pytest.raises(DataError, match=f"line 2.*{message}"):
        read_samples(lines(tmp_path, good, row))
    (problem,) = check(lines(tmp_path, good, row)).broken
    assert message in f"{problem.place}: {problem.problem}"


def test_an_empty_answer_that_is_not_learnt_may_stay(tmp_path):
    turns = [TURNS[0], {"role": "assistant", "content": "", "weight": 0}, *TURNS]
    (sample,) = read_samples(lines(tmp_path, {"messages": turns}))
    assert sample.answers == (False, False, False, True)


@pytest.mark.parametrize("prompt", [[*BAD, TURNS[0]], [{"role": "system", "content": "s"}, *BAD, TURNS[0]]])
def test_of_turns_in_prompt_and_completion_only_the_completion_is_learnt(tmp_path, prompt: list):
    (sample,) = read_samples(lines(tmp_path, {"prompt": prompt, "completion": [TURNS[1]]}))
    assert sample.answers == (*[False] * len(prompt), True)
    longer = [TURNS[1], TURNS[0], BAD[1] | {"loss": False}, TURNS[0], TURNS[1]]
    (sample,) = read_samples(lines(tmp_path, {"prompt": prompt, "completion": longer}))
    assert sample.answers == (*[False] * len(prompt), True, False, False, False, True)


# -- JSON in texts, nulls of Arrow -----------------------------------------------------------------


@pytest.mark.parametrize("write", [json.dumps, str], ids=["json", "pandas"])
def test_turns_in_the_cells_of_a_csv_file(tmp_path, write):
    pair = {"prompt": write(TURNS[:1]), "chosen": write(TURNS[1:]), "rejected": write(BAD[1])}
    (found,) = read_pairs(as_csv(tmp_path, pair))
    assert said(found.chosen.messages) == ASKED
    assert said(found.rejected.messages) == [("user", "q"), ("assistant", "bad")]
    judged = {"prompt": write(TURNS[:1]), "completion": write(TURNS[1:]), "label": "0"}
    (one,) = read_judged(as_csv(tmp_path, judged))
    assert (said(one.sample.messages), one.good) == (ASKED, False)
    (sample,) = read_samples(
        as_csv(tmp_path, {"instruction": "q", "output": "good", "history": write([["a", "b"]])})
    )
    assert said(sample.messages) == [("user", "a"), ("assistant", "b"), *ASKED]
    (sample,) = read_samples(
        as_csv(tmp_path, {"messages": write(TURNS), "tools": json.dumps([{"name": "f"}])})
    )
    assert (said(sample.messages), sample.tools[0]["function"]) == (ASKED, {"name": "f"})


def test_turns_as_text_in_json_lines(tmp_path):
    row = {"prompt": "q", "chosen": json.dumps(TURNS), "rejected": json.dumps(BAD)}
    (found,) = read_pairs(lines(tmp_path, row))
    assert said(found.chosen.messages) == ASKED


@pytest.mark.parametrize("answer", ['[{"role": "admin"}]', '{"a": 1}', "[1, 2]", "[sic] yes", '{"value": 3}'])
def test_an_answer_that_is_json_stays_the_text_that_it_is(tmp_path, answer: str):
    (sample,) = read_samples(as_csv(tmp_path, {"prompt": answer, "completion": answer}))
    assert said(sample.messages) == [("user", answer), ("assistant", answer)]


def test_a_cell_that_only_looks_like_turns_is_refused(tmp_path):
    cell = str(TURNS).replace("},", "}\n")  # as numpy writes a list
    with pytest.raises(
        DataError, match="line 2: 'chosen' looks like a list of messages, but is not valid JSON"
    ):
        read_pairs(as_csv(tmp_path, {"prompt": "q", "chosen": cell, "rejected": "b"}))


@pytest.mark.skipif(not installed("pyarrow"), reason="pyarrow is not installed (extra [parquet])")
def test_nulls_that_arrow_adds_are_absent_and_those_in_json_text_stay(tmp_path):
    import pyarrow
    import pyarrow.parquet

    def row(name: str, arguments: object) -> dict:
        call = {"function": {"name": name, "arguments": arguments}}
        tool = {"name": name, "parameters": {"properties": {key: {"type": "string"} for key in arguments}}}
        return {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [call]}], "tools": [tool]}

    rows = [row("weather", {"city": "Bern"}), row("clock", {"zone": "Rome"})]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = read_samples(tmp_path / "rows.parquet")
    assert [sample.messages[1].tool_calls[0].arguments for sample in found] == [
        '{"city": "Bern"}',
        '{"zone": "Rome"}',
    ]
    assert [list(one.tools[0]["function"]["parameters"]["properties"]) for one in found] == [
        ["city"],
        ["zone"],
    ]

    call = {"function": {"name": "f", "arguments": '{"city": null}'}}
    tool = '[{"name": "f", "parameters": {"default": null}}]'
    rows = [{"messages": [TURNS[0], {"role": "assistant", "tool_calls": [call]}], "tools": tool}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "text.parquet")
    for file in (tmp_path / "text.parquet", lines(tmp_path, *rows)):
        (sample,) = read_samples(file)
        assert sample.messages[1].tool_calls[0].arguments == '{"city": null}'
        assert sample.tools[0]["function"]["parameters"] == {"default": None}


# -- judgements ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "good"), [(1, True), (0, False), (1.0, True), (True, True)])
@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "q", "completion": "good"},
        {"messages": TURNS},
        {"instruction": "q", "output": "good"},
        {"query": "q", "completion": "good"},
    ],
)
def test_a_label_of_1_or_0_is_a_judgement(tmp_path, fields: dict, label: object, good: bool):
    file = lines(tmp_path, fields | {"label": label})
    (judged,) = read_judged(file)
    assert (judged.good, said(judged.sample.messages)) == (good, ASKED)
    assert check(file).objectives == ("kto",)


@pytest.mark.parametrize("label", ["true", "yes", 2, -1, None])
def test_another_label_is_refused_by_its_name(tmp_path, label: object):
    with pytest.raises(DataError, match=r"line 1: 'label' must be true or false \(or 1 or 0\), found"):
        read_judged(lines(tmp_path, {"prompt": "q", "completion": "a", "label": label}))


def test_labels_of_several_classes_are_no_judgements(tmp_path):
    file = lines(tmp_path, *({"messages": TURNS, "label": label} for label in (0, 1, 2)))
    assert check(file).objectives == ("sft",)
    assert check(file).unread == {"label": 3}


def test_the_pair_is_a_pair_for_texts_too(tmp_path):
    file = lines(tmp_path, {"question": "q", "chosen": "a", "rejected": "b"})
    (part,) = read_parts(file)
    assert isinstance(next(part.read()), Pair)
    with pytest.raises(DataError, match="which fit --objective dpo, orpo or simpo"):
        read_texts(file)
