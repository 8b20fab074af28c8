"""What an earlier version made opens today with the same content: `fixtures/` holds a folder of each."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from weightwright import LLM, SamplingParams
from weightwright.cli.app import main

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(params=sorted(path.parent.name for path in FIXTURES.glob("*/expected.json")))
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A copy of what a version made, as the current folder; what that version found in it."""
    shutil.copytree(FIXTURES / request.param, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    monkeypatch.setenv("WEIGHTWRIGHT_HOME", "home")
    expected: dict[str, Any] = json.loads(Path("expected.json").read_text(encoding="utf-8"))
    return expected


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Call a verb with --json and give its result."""

    def weightwright(*argv: str) -> Any:
        status = main([*argv, "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out)

    return weightwright


def test_a_knowledge_base_finds_what_it_found(made: dict[str, Any], run: Any) -> None:
    for query, by_mode in made["searches"].items():
        for mode, expected in by_mode.items():
            hits = run("kb", "search", "kb.db", query, "--mode", mode, "--k", "3")["hits"]
            found = [[hit["document"], hit["start"], hit["end"], hit["text"]] for hit in hits]
            assert found == expected, (query, mode)


def test_a_knowledge_base_takes_its_documents_and_new_ones(made: dict[str, Any], run: Any) -> None:
    before = run("kb", "list", "kb.db")["items"]
    Path("documents", "owls.txt").write_text(
        "The owls of the tower are called Pim and Pom.", encoding="utf-8"
    )
    assert run("kb", "add", "kb.db", "documents")["skipped"] == []
    after = run("kb", "list", "kb.db")["items"]
    assert [item["document"] for item in after] == sorted(
        [*(item["document"] for item in before), "owls.txt"]
    )
    versions = {item["document"]: item["version"] for item in after}
    assert all(versions[item["document"]] == item["version"] for item in before)
    assert all(item["path"] == str(Path("documents", item["document"]).absolute()) for item in after)
    answer = run("ask", "kb.db", "What are the owls called?", "--model", "extract")
    assert "Pim and Pom" in answer["answer"]


def test_models_of_the_store_and_an_adapter_answer_as_they_did(made: dict[str, Any]) -> None:
    greedy = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
    for model, expected in made["tokens"].items():
        before = _files(Path("home", "gguf"))
        address = model if model.startswith("tiny/") else f"tiny/llama+./{model}"
        with LLM(address, precision="f32") as llm:
            [output] = llm.generate([made["prompt"]], greedy)
        assert list(output.outputs[0].token_ids) == expected, model
        # a tokenizer that was taken out of a GGUF file by older rules stays, and is made anew beside it
        assert _files(Path("home", "gguf")).items() >= before.items()


def test_models_of_the_store_are_listed_shown_and_removed(made: dict[str, Any], run: Any) -> None:
    listed = {row["model"]: row["bytes"] for row in run("list")["models"]}
    assert {"tiny/llama", "tiny/gguf"} <= listed.keys()
    assert run("show", "tiny/llama")["supported"]
    assert run("rm", "tiny/gguf")["freed_bytes"] >= listed["tiny/gguf"]
    assert "tiny/gguf" not in {row["model"] for row in run("list")["models"]}


def test_a_finished_run_is_not_run_again(made: dict[str, Any], run: Any) -> None:
    before = _files(Path("run"))
    expected = json.loads(Path("run", "result.json").read_text(encoding="utf-8"))
    assert run(*_tune("run")).items() >= expected.items()
    assert _files(Path("run")) == before


def test_a_stopped_run_goes_on_to_the_same_end(made: dict[str, Any], run: Any) -> None:
    log = [json.loads(line) for line in Path("stopped", "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == 3
    run(*_tune("stopped"))
    kept, finished = _log("stopped"), _log("run")
    assert kept.keys() == finished.keys()
    for step, line in finished.items():
        assert kept[step] == pytest.approx(line, rel=1e-4)
    again = _files(Path("stopped", "checkpoints"))
    assert {path.parent.name for path in again} == {"step-00000004"}


def test_a_run_from_before_an_option_came_goes_on_with_its_default(made: dict[str, Any], run: Any) -> None:
    """As every run of this version will look once there are more options."""
    file = Path("stopped", "run.json")
    noted = json.loads(file.read_text(encoding="utf-8"))
    del noted["tf32"], noted["momentum"], noted["prompt"]["no_answer"]
    file.write_text(json.dumps(noted), encoding="utf-8")
    assert run(*_tune("stopped"))["steps"] == 4
    noted["rank"] = 8
    file.write_text(json.dumps(noted), encoding="utf-8")
    assert main(_tune("stopped")) == 1


def test_kept_answers_are_not_asked_again(made: dict[str, Any], run: Any) -> None:
    answers, adapters = _answers(), _files(Path("home", "adapters"))
    expected = json.loads(Path("comparison", "result.json").read_text(encoding="utf-8"))
    result = run("compare", "--config", "compare.yaml", "--out", "comparison")
    assert _answers() == answers
    assert _files(Path("home", "adapters")) == adapters
    scores = {
        arm["name"]: {metric: row["mean"] for metric, row in arm["scores"].items()} for arm in result["arms"]
    }
    assert scores == {
        arm["name"]: {metric: row["mean"] for metric, row in arm["scores"].items()}
        for arm in expected["arms"]
    }


def _tune(out: str) -> list[str]:
    """The run that the fixtures hold, written out so that no default of today changes it."""
    return ["tune", "--config", f"{out}/settings.yaml", "--out", out]


def _log(folder: str) -> dict[int, list[float]]:
    """Loss and the gradient's norm by step."""
    lines = [json.loads(line) for line in Path(folder, "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: [line["loss"], line["grad_norm"]] for line in lines if "loss" in line}


def _answers() -> list[tuple[str, str, str]]:
    with sqlite3.connect(Path("comparison", "answers.db")) as connection:
        rows = connection.execute("SELECT key, record, finished_at FROM answers ORDER BY key").fetchall()
    connection.close()
    return rows


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
