"""Questions that users ask beside the rows: which kinds of them have no row."""

import json
from pathlib import Path

import numpy as np
import pytest

from weightwright.cli.app import main
from weightwright.data.asked import kinds_asked, read_asked
from weightwright.data.kinds import SAMPLED_ROWS, Embedded, count_kinds
from weightwright.errors import DataError

WIDTH = 256


def near(direction: int, count: int, noise: float = 0.2) -> np.ndarray:
    """Vectors [count, width] of one kind."""
    random = np.random.default_rng((direction, count))
    points = np.random.default_rng(direction).normal(size=WIDTH) + noise * random.normal(size=(count, WIDTH))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def embedded(*parts: np.ndarray) -> Embedded:
    return Embedded(np.concatenate(parts), 0.0)


def test_kinds_without_a_row_are_told_with_examples():
    asked = [f"a{n}" for n in range(5)] + [f"b{n}" for n in range(3)] + ["c0"]
    found = kinds_asked(
        asked, embedded(near(1, 5), near(2, 3), near(3, 1)), embedded(near(2, 40), near(4, 10))
    )
    assert [(one.questions, one.rows) for one in found.kinds] == [(5, 0), (3, 40), (1, 0)]
    assert [one.questions for one in found.without_rows] == [5, 1]
    assert set(found.without_rows[0].examples) < {f"a{n}" for n in range(5)}
    assert len(found.without_rows[0].examples) == 3
    lines = found.lines()
    assert lines[0] == "6 of 9 questions asked are of kinds that have no row (2 kinds):"
    assert lines[1].startswith("  5 like: a")
    assert lines[2] == "  1 like: c0"
    assert found.lines(shown=1)[-1] == "  and 1 kinds more"


def test_questions_that_rows_cover():
    found = kinds_asked(["a", "b", "c"], embedded(near(1, 1), near(2, 2)), embedded(near(1, 30), near(2, 4)))
    said = "questions asked: 3, each of a kind that rows are of; the fewest rows: 4 for 2 like: "
    assert found.lines()[0].removeprefix(said) in "bc"


def test_questions_are_grouped_as_rows_are():
    points = np.concatenate([near(1, 30), near(2, 20), near(3, 10)])
    alone = kinds_asked([str(n) for n in range(60)], Embedded(points, 0.0), embedded(near(9, 1)))
    assert tuple(one.questions for one in alone.kinds) == count_kinds(points).sizes


def test_a_row_beyond_the_sample_counts():
    """One row in thousands, which the sample may miss, is a row of its kind nevertheless."""
    for place in (0, 1500, 4999):
        many = near(2, 5000)
        many[place] = near(1, 1)[0]
        assert len(many) > SAMPLED_ROWS
        found = kinds_asked(["a", "b"], embedded(near(1, 2)), Embedded(many, 0.0))
        assert [(one.questions, one.rows) for one in found.kinds] == [(2, 1)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("asked.txt", "How?\n\n  Why? \n"),
        ("asked.jsonl", '{"question": "How?"}\n{"messages": [{"role": "system", "content": "s"}, '
         '{"role": "user", "content": "Why?"}, {"role": "user", "content": "And?"}]}\n'),
        ("batch.jsonl", '{"custom_id": "1", "body": {"messages": [{"role": "user", "content": "How?"}]}}\n'
         '{"custom_id": "2", "body": {"prompt": "Why?"}}\n'),
        ("asked.csv", "id,query\n1,How?\n2,Why?\n"),
        ("asked.json", '[{"conversations": [{"from": "human", "value": "How?"}]}, {"input": "Why?"}]'),
    ],
)  # fmt: skip
def test_questions_are_read_from_what_people_have(tmp_path, name: str, content: str):
    (tmp_path / name).write_text(content)
    assert read_asked([tmp_path / name]) == ["How?", "Why?"]


def test_a_row_that_asks_nothing_is_named(tmp_path):
    (tmp_path / "asked.jsonl").write_text('{"question": "How?"}\n{"answer": "x"}\n')
    with pytest.raises(
        DataError, match=r"line 2: asks nothing: a question stands in question, .*row has: answer"
    ):
        read_asked([tmp_path / "asked.jsonl"])


def rows_and_questions(folder: Path) -> tuple[Path, Path]:
    cities = ("France", "Japan", "Peru", "Kenya", "Norway", "Chile", "Spain", "Egypt")
    rows = [{"instruction": f"What is the capital of {city}?", "output": "A city."} for city in cities]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [
        "Which city is the capital of Italy?",
        "How do I bake sourdough bread?",
        "My bread does not rise in the oven.",
    ]
    (folder / "asked.txt").write_text("\n".join(asked))
    return folder / "rows.jsonl", folder / "asked.txt"


@pytest.mark.model
def test_with_a_real_embedder(tmp_path, capsys):
    rows, asked = rows_and_questions(tmp_path)
    assert main(["data", "check", str(rows), "--asked", str(asked), "--embedder", "minilm"]) == 0
    shown = capsys.readouterr().out
    assert "2 of 3 questions asked are of kinds that have no row (1 kinds):" in shown
    assert "bread" in shown
    assert "Italy" not in shown
    assert main(["data", "check", str(rows), "--asked", str(asked), "--embedder", "minilm", "--json"]) == 0
    kinds = json.loads(capsys.readouterr().out)["asked"]["kinds"]
    assert [(one["questions"], one["rows"]) for one in kinds] == [(2, 0), (1, 8)]


@pytest.mark.parametrize("verb", [["data", "check"], ["tune", "m", "--out", "o", "--data"]])
def test_without_an_embedder_it_is_refused_with_the_remedy(tmp_path, capsys, verb):
    rows, asked = rows_and_questions(tmp_path)
    assert main([*verb, str(rows), "--asked", str(asked)]) != 0
    assert (
        "asked needs an embedder to tell kinds of question apart: add --embedder minilm"
        in capsys.readouterr().err
    )
