"""`compare` and `judge` from the command line: JSON, flags over file, clear errors."""

import json
from pathlib import Path

import pytest

from weightwright.cli.app import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text(
        '{"question": "Who?", "answer": "Bob [1]", "reference": "Bob"}\n', encoding="utf-8"
    )
    (tmp_path / "q.jsonl").write_text('{"question": "Who?", "reference": "Bob"}\n', encoding="utf-8")
    (tmp_path / "c.yaml").write_text(
        "model: extract\nquestions: q.jsonl\ndocuments: [absent]\narms: [base, rag]\n", encoding="utf-8"
    )
    return tmp_path


def test_judge_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(folder / "rows.jsonl"), "--json", "--metrics", "f1,contains"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data["scores"]) == ["f1", "contains"]
    assert data["scores"]["f1"]["mean"] == 1.0


def test_judge_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(folder / "rows.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "exact_match" in shown
    assert "caution: only 1 independent cluster" in shown


def test_errors_are_one_clear_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, config = str(folder / "rows.jsonl"), str(folder / "c.yaml")
    cases = [
        (["judge", rows, "--grader", "m"], 1, "grading by a model is not available yet"),
        (["judge", str(folder / "absent.jsonl")], 1, "No such file"),
        (["compare", "--config", str(folder / "absent.yaml")], 1, "cannot read settings"),
        (["compare"], 2, "model is required"),
        (["compare", "--config", config, "--arms", "bas", "--arms", "rag"], 2, "did you mean base?"),
        (["compare", "--config", config, "--out", str(folder / "o")], 1, "absent does not exist"),
    ]
    for arguments, status, message in cases:
        assert main(arguments) == status
        shown = capsys.readouterr()
        assert message in shown.err, shown.err
        assert shown.err.count("\n") == 1
        assert shown.out == ""


def test_paths_of_flags_are_from_here_and_of_the_file_from_there(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = folder / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    arguments = ["compare", "--config", "../c.yaml", "--out", "out", "--questions", "mine.jsonl"]
    assert main(arguments) == 1
    assert f"{here / 'mine.jsonl'} cannot be read" in capsys.readouterr().err
    assert main(arguments[:-2]) == 1
    assert "../absent does not exist; give files or folders" in capsys.readouterr().err
    assert (here / "out").is_dir()
