"""Judged rows: means, intervals by cluster, failures, and wrong files."""

import json
from pathlib import Path
from typing import Any

import pytest

from weightwright.errors import DataError, SettingsError
from weightwright.judge.settings import JudgeSettings
from weightwright.judge.summary import judge
from weightwright.stats.intervals import mean_interval


def write(tmp_path: Path, rows: list[Any]) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def row(answer: str | None, **more: Any) -> dict[str, Any]:
    return {"question": "Who?", "answer": answer, "reference": "Bob", **more}


def test_means_intervals_and_rows(tmp_path: Path) -> None:
    rows = [
        row("Bob [1]", documents=["a"]),
        row("Eve", documents=["a", "b"]),
        row(None),
        row("Bob", documents=["c"]),
    ]
    judgement = judge(JudgeSettings(rows=write(tmp_path, rows), metrics=("exact_match",)))
    data = judgement.data()
    expected = mean_interval([1, 0, 0, 1], [0, 0, 1, 2])
    score = data["scores"]["exact_match"]
    assert (score["mean"], score["low"], score["high"]) == (expected.mean, expected.low, expected.high)
    assert (score["n"], score["clusters"], data["failed"]) == (4, 3, 1)
    assert [r["scores"]["exact_match"] for r in data["rows"]] == [1.0, 0.0, 0.0, 1.0]
    assert [r["id"] for r in data["rows"]] == ["1", "2", "3", "4"]


def test_references_come_under_several_names(tmp_path: Path) -> None:
    rows = [
        {"question": "Who?", "answer": "Rob", "reference": "Bob", "answers": ["Rob"]},
        {"question": "Who?", "answer": "Rob", "references": ["Bob", "Rob"], "id": 5},
    ]
    judgement = judge(JudgeSettings(rows=write(tmp_path, rows)))
    assert [r.references for r in judgement.rows] == [("Bob", "Rob"), ("Bob", "Rob")]
    assert judgement.means["exact_match"].mean == 1.0


def test_a_grader_is_refused_clearly(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--grader smollm2-135m: grading by a model is not available yet"):
        judge(JudgeSettings(rows=write(tmp_path, [row("Bob")]), grader="smollm2-135m"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"answer": "x", "reference": "y"}], ", line 1: question is missing"),
        ([row("x"), {"question": "Q?", "answer": "x"}], ", line 2: references is missing"),
        ([row(["x"])], r", line 1: answer=\['x'\]"),
        ([], "holds no rows"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge(JudgeSettings(rows=write(tmp_path, rows)))
