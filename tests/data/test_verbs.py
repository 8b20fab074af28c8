"""The verbs data show and data check: their JSON, what people read, and one clear line for what is wrong."""

import json
from pathlib import Path

import pytest

from weightwright.cli.app import main

PAIR = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A spoon."}
ROWS = [{"instruction": f"Count to {n}", "output": f"one to {n}"} for n in range(8)]


def lines(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return status, out.out, out.err


def parts(shown: dict) -> list[str]:
    return [part["text"] for part in shown["parts"] if part["labelled"]]


def test_show_prints_a_pair_as_two_rows(capsys, tiny_model, tmp_path):
    file = lines(tmp_path / "pairs.jsonl", PAIR, PAIR | {"rejected": "A fork."})
    status, out, _ = run(capsys, "data", "show", file, "--model", tiny_model, "--count", 1, "--json")
    found = json.loads(out)
    assert (status, found["rows"], len(found["shown"])) == (0, 2, 2)
    assert [parts(one) for one in found["shown"]] == [["A robin.<|im_end|>"], ["A spoon.<|im_end|>"]]
    assert [one["place"] for one in found["shown"]] == [
        f"{file}, line 1, chosen",
        f"{file}, line 1, rejected",
    ]


def test_show_says_what_was_judged(capsys, tiny_model, tmp_path):
    row = {"prompt": "Name a bird.", "completion": "A spoon.", "label": False}
    file = lines(tmp_path / "kto.jsonl", row)
    status, out, _ = run(capsys, "data", "show", file, "--model", tiny_model)
    assert status == 0
    assert "carry loss, judged bad" in out


def test_show_prints_texts(capsys, tiny_model, tmp_path):
    (tmp_path / "book.txt").write_text("Once.")
    status, out, _ = run(capsys, "data", "show", tmp_path / "book.txt", "--model", tiny_model, "--json")
    assert (status, parts(json.loads(out)["shown"][0])) == (0, ["Once.<|im_end|>"])


def test_check_without_a_model(capsys, tmp_path):
    file = lines(tmp_path / "rows.jsonl", *ROWS, ROWS[0])
    status, out, _ = run(capsys, "data", "check", file, "--json")
    found = json.loads(out)
    assert (status, found["rows"], found["lengths"]["unit"]) == (0, 9, "characters")
    assert [one["place"] for one in found["duplicates"]] == [f"{file}, line 9"]


def test_check_with_a_model_and_held_out_rows(capsys, tiny_model, tmp_path):
    file, held_out = lines(tmp_path / "rows.jsonl", *ROWS), lines(tmp_path / "eval.jsonl", ROWS[3])
    arguments = ("--model", tiny_model, "--eval-data", held_out, "--max-length", 20)
    status, out, _ = run(capsys, "data", "check", file, *arguments)
    assert status == 0
    assert "8 rows (alpaca), for --objective sft" in out
    assert "held out that stand among the rows to learn from: 1;" in out
    assert "rows longer than 20 tokens: 8;" in out
    assert f"{held_out}, line 1 is also {file}, line 4" in out


def test_check_lists_every_broken_row(capsys, tmp_path):
    rows = [*ROWS, *({"instruction": "a"} for _ in range(30))]
    status, out, _ = run(capsys, "data", "check", lines(tmp_path / "rows.jsonl", *rows))
    assert status == 0
    (line,) = [line for line in out.splitlines() if "field 'output' is missing" in line]
    assert line.startswith(f"  {tmp_path}/rows.jsonl, line 9; line 10; line 11; ")
    assert line.count("; line ") == 29
    assert "rows that cannot be learnt from: 30;" in out


@pytest.mark.model
def test_check_counts_kinds_of_task(capsys, tmp_path):
    cities = ("Oslo", "Rome", "Paris", "Berlin", "Madrid", "Vienna", "Lisbon", "Dublin", "Athens", "Warsaw")
    rows = [{"instruction": f"Translate into German: I live in {city}.", "output": city} for city in cities]
    rows += [
        {"instruction": f"Write a Python function that adds {n} to a list.", "output": "def"}
        for n in range(10)
    ]
    rows += [{"instruction": f"How do I cook rice for {n} people?", "output": "Boil"} for n in range(2, 12)]
    file = lines(tmp_path / "rows.jsonl", *rows)
    status, out, _ = run(capsys, "data", "check", file, "--embedder", "minilm", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["kinds_of_task"]["count"] == 3
    assert found["kinds_of_task"]["sizes"] == [10, 10, 10]
    assert found["advice"] == [{"setting": "rank", "value": 16, "why": "about 3 kinds of task"}]
    status, out, _ = run(capsys, "data", "check", file, "--embedder", "minilm")
    assert "about 3 kinds of task: rank 16" in out
    assert "10 rows like: Translate into German" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("check", "absent.jsonl"), 1, "error: absent.jsonl does not exist\n"),
        (("check",), 2, "file is required"),
        (("show", "x.jsonl"), 2, "model is required"),
    ],
)
def test_what_is_wrong_is_one_clear_line(capsys, arguments, status: int, message: str):
    found = run(capsys, "data", *arguments)
    assert found[0] == status
    assert message in found[2]
    assert found[2].count("\n") == 1
