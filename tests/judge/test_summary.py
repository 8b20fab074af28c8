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


def row(answer: str | None, question: str = "Who?", **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "reference": "Bob", **more}


def test_means_intervals_and_rows(tmp_path: Path) -> None:
    rows = [
        row("Bob [1]", "Who sang?", documents=["a"]),
        row("Eve", "Who danced?", documents=["a", "b"]),
        row(None, "Who slept?"),
        row("Bob", "Who ate?", documents=["c"]),
    ]
    judgement = judge(JudgeSettings(rows=write(tmp_path, rows), metrics=("exact_match",)))
    data = judgement.data()
    expected = mean_interval([1, 0, 0, 1], [0, 0, 1, 2])
    score = data["scores"]["exact_match"]
    assert (score["mean"], score["low"], score["high"]) == (expected.mean, expected.low, expected.high)
    assert (score["n"], score["clusters"], data["failed"]) == (4, 3, 1)
    assert [r["scores"]["exact_match"] for r in data["rows"]] == [1.0, 0.0, 0.0, 1.0]
    assert [r["id"] for r in data["rows"]] == ["1", "2", "3", "4"]


def test_a_question_that_stands_often_is_one_question(tmp_path: Path) -> None:
    rows = [row("Bob", text) for text in ["Who won?"] * 15 + ["who  WON", "Ｗｈｏ won？", "Who won"]]
    judgement = judge(JudgeSettings(rows=write(tmp_path, [*rows, row("", "Who lost?")])))
    mean = judgement.means["contains"]
    assert (mean.n, mean.clusters, judgement.failed) == (19, 2, 1)
    assert judgement.cautions[0].startswith("17 of 19 questions repeat another one (such as 1: 2, 3, 4, …)")
    assert "only 2 independent clusters" in judgement.cautions[1]
    assert judgement.data()["cautions"] == list(judgement.cautions)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c"])
def test_rows_end_at_line_feeds_only(tmp_path: Path, character: str) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [row(f"Bob{character}Smith"), row("Bob", "Who else?")]
    lines = [json.dumps(each, ensure_ascii=False) for each in rows]
    file.write_bytes("\r\n".join(lines).encode())
    assert [each.answer for each in judge(JudgeSettings(rows=file)).rows] == [f"Bob{character}Smith", "Bob"]


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


@pytest.mark.parametrize(
    ("more", "mean"),
    [
        ({"answer": 0, "reference": 0}, 1.0),
        ({"answer": 3.50, "reference": "3.5"}, 1.0),
        ({"answer": "1998", "references": ["98", 1998]}, 1.0),
        ({"answer": "x", "documents": "a.md", "id": None}, 0.0),
        ({"answer": float("nan"), "documents": None}, 0.0),
    ],
)
def test_numbers_nulls_and_single_documents_are_read(
    tmp_path: Path, more: dict[str, Any], mean: float
) -> None:
    judgement = judge(JudgeSettings(rows=write(tmp_path, [row("x") | more])))
    assert judgement.means["exact_match"].mean == mean
    assert judgement.rows[0].id == "1"
    assert judgement.rows[0].documents == (("a.md",) if more.get("documents") else ())


def test_a_row_without_an_answer_is_no_failed_answer(tmp_path: Path) -> None:
    rows = [{"question": "Who?", "response": "Bob", "reference": "Bob"}]
    with pytest.raises(DataError, match="line 1: answer is missing"):
        judge(JudgeSettings(rows=write(tmp_path, rows)))
