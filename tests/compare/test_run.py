"""A whole comparison against a counting server: resumed after kills, asked again only where changed."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from weightwright import config as settings_files
from weightwright.compare.run import compare
from weightwright.compare.settings import CompareSettings
from weightwright.errors import DataError, RemoteError, StoreError

N = 24


def settings(config: Path, out: Path, **changes: Any) -> CompareSettings:
    loaded = settings_files.load(CompareSettings, section="compare", file=config)
    return loaded.placed(config.parent).model_copy(update={"out": out, **changes})


def test_retrieval_wins_where_only_the_documents_know(stub: Any, config: Path, tmp_path: Path) -> None:
    comparison = compare(settings(config, tmp_path / "out"))
    assert comparison.verdict.winner == "rag"
    data = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(comparison.data()))
    arms = {arm["name"]: arm for arm in data["arms"]}
    assert arms["base"]["scores"]["contains"]["mean"] == 0.0
    assert arms["rag"]["scores"]["contains"]["mean"] == 1.0
    assert arms["rag"]["scores"]["contains"]["n"] == N
    assert (
        arms["rag"]["cost"]["prompt_tokens_per_question"] > arms["base"]["cost"]["prompt_tokens_per_question"]
    )
    assert arms["rag"]["cost"]["peak_bytes"] is None  # the model's memory is another process's
    [pair] = data["pairs"]
    assert (pair["a"], pair["b"], pair["metric"]) == ("rag", "base", "contains")
    assert pair["p"] == 2 / 2**12  # twelve documents, all for rag
    assert data["clusters"] == 12
    record = comparison.arms[1].records[0]
    assert [c["document"] for c in record.citations] == ["item0.txt"]
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_nothing_finished_is_asked_again(stub: Any, config: Path, tmp_path: Path) -> None:
    first = compare(settings(config, tmp_path / "out"))
    assert sum(stub.asked.values()) == 2 * N
    again = compare(settings(config, tmp_path / "out"))
    assert sum(stub.asked.values()) == 2 * N
    assert again.arms == first.arms


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("reference", {}),
        ("metrics", {}),
        ("question", {"base": 1, "rag": 1}),
        ("document", {"rag": N}),
        ("k", {"rag": N}),
        ("max_tokens", {"base": N, "rag": N}),
        ("instruction", {"rag": N}),
        ("plain_instruction", {"base": N}),
        ("new question", {"base": 1, "rag": 1}),
        ("new arm", {"rag": N}),
    ],
)
def test_after_a_change_exactly_the_changed_is_asked(
    stub: Any, config: Path, tmp_path: Path, change: str, expected: dict[str, int]
) -> None:
    out = tmp_path / "out"
    compare(settings(config, out))
    stub.asked.clear()
    lines = (config.parent / "questions.jsonl").read_text(encoding="utf-8")
    changed = settings(config, out)
    answer = changed.answer
    match change:
        case "reference":
            lines = lines.replace('"colour0"', '"color0"')
        case "question":
            lines = lines.replace("Which paint has item 0?", "Which paint has the item 0?")
        case "new question":
            lines += json.dumps({"id": "new", "question": "Is item 5 red?", "reference": "no"}) + "\n"
        case "document":
            (config.parent / "docs" / "item3.txt").write_text("Now item 3 is colour99.", encoding="utf-8")
        case "k":
            changed = settings(config, out, answer=answer.model_copy(update={"k": 3}))
        case "max_tokens":
            changed = settings(config, out, answer=answer.model_copy(update={"max_tokens": 17}))
        case "metrics":
            changed = settings(config, out, metrics=("f1", "no_answer"), primary="f1")
        case "new arm":
            changed = settings(config, out, arms=("base", "rag", "gold"))
        case name:
            prompt = answer.prompt.model_copy(update={name: "Be brief."})
            changed = settings(config, out, answer=answer.model_copy(update={"prompt": prompt}))
    (config.parent / "questions.jsonl").write_text(lines, encoding="utf-8")
    comparison = compare(changed)
    by_arm = Counter[str]()
    for (arm, _), times in stub.asked.items():
        by_arm[arm] += times
    assert dict(by_arm) == expected
    if change == "reference":
        assert comparison.arms[1].column("contains").tolist() == [0.0, 0.0] + [1.0] * (N - 2)


def test_a_refused_question_is_counted_and_asked_again(stub: Any, config: Path, tmp_path: Path) -> None:
    stub.refuse = lambda arm, question: (500, "no luck") if "item 7" in question and arm == "rag" else None
    comparison = compare(settings(config, tmp_path / "out"))
    assert [result.failed for result in comparison.arms] == [0, 2]
    assert comparison.arms[1].means["contains"].mean == pytest.approx((N - 2) / N)
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "rag: 2 of 24 questions failed and score 0." in html
    assert "no luck" in html
    stub.refuse = lambda arm, question: None
    stub.asked.clear()
    assert compare(settings(config, tmp_path / "out")).arms[1].failed == 0
    assert sorted(stub.asked) == [("rag", "What colour is item 7?"), ("rag", "Which paint has item 7?")]


@pytest.mark.parametrize("status", [400, 500])
def test_an_arm_whose_every_question_fails_is_told_and_never_taken(
    stub: Any, config: Path, tmp_path: Path, status: int
) -> None:
    stub.refuse = lambda arm, question: (status, "prompt is too long") if arm == "rag" else None
    comparison = compare(settings(config, tmp_path / "out"))
    data = comparison.data()
    assert (data["winner"], data["cheapest"], data["equals"], data["pairs"]) == (None, None, [], [])
    assert data["why"].endswith("rag failed on 24 of 24 questions: each failure scores 0.")
    assert data["cautions"][0].startswith("rag: 24 of 24 questions failed and score 0. Reason: ")
    assert "prompt is too long" in data["cautions"][0]
    assert data["arms"][1]["cost"]["seconds_per_question"] is None
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>No winner: rag failed</h1>" in html
    stub.refuse = lambda arm, question: None
    stub.asked.clear()
    assert compare(settings(config, tmp_path / "out")).verdict.winner == "rag"
    assert {arm for arm, _ in stub.asked} == {"rag"}


def test_copies_of_a_question_are_no_evidence(stub: Any, config: Path, tmp_path: Path) -> None:
    others = ["what  colour is ITEM 3", "What colour is item 3 ？", "Which colour is the item 3?"]
    rows = [
        {"id": f"c{i}", "question": text, "reference": "colour3"}
        for i, text in enumerate(["What colour is item 3?"] * 17 + others)
    ]
    lines = [json.dumps(row) for row in rows]
    (config.parent / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    comparison = compare(settings(config, tmp_path / "out"))
    [pair] = comparison.verdict.pairs
    assert (pair.difference.mean, pair.difference.clusters, pair.p) == (1.0, 1, 1.0)
    assert comparison.verdict.winner is None
    assert "20 questions in 1 independent cluster)" in comparison.verdict.why
    assert comparison.cautions[0].startswith(
        "19 of 20 questions repeat another one (such as c0: c1, c2, c3, …)"
    )
    assert max(stub.asked.values()) == 1


def test_a_server_that_is_gone_stops_the_run_and_it_resumes(stub: Any, config: Path, tmp_path: Path) -> None:
    stub.refuse = lambda arm, question: (503, "away") if arm == "rag" else None
    with pytest.raises(RemoteError, match="away"):
        compare(settings(config, tmp_path / "out"))
    assert not (tmp_path / "out" / "report.html").exists()
    stub.refuse = lambda arm, question: None
    stub.asked.clear()
    compare(settings(config, tmp_path / "out"))
    assert {arm for arm, _ in stub.asked} == {"rag"}
    assert len(stub.asked) == N  # of the run before, a question may still be on its way when it is counted


def test_gold_gets_the_named_documents(stub: Any, config: Path, tmp_path: Path) -> None:
    comparison = compare(settings(config, tmp_path / "out", arms=("base", "gold")))
    for question, record in zip(comparison.questions, comparison.arms[1].records, strict=True):
        assert [p["document"] for p in record.passages] == list(question.documents)
        assert record.passages[0]["text"].startswith("About item")
    assert comparison.verdict.winner is None
    assert comparison.verdict.why.startswith("Nothing to choose")


def test_a_document_that_is_not_there_is_named_before_anything_is_asked(
    stub: Any, config: Path, tmp_path: Path
) -> None:
    file = config.parent / "questions.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("item3.txt", "item3.tx"), encoding="utf-8")
    with pytest.raises(DataError, match=r"item3.tx.*did you mean item3.txt"):
        compare(settings(config, tmp_path / "out", arms=("base", "gold")))
    assert not stub.asked


def test_a_document_that_is_gone_no_longer_answers(stub: Any, config: Path, tmp_path: Path) -> None:
    compare(settings(config, tmp_path / "out"))
    (config.parent / "docs" / "item0.txt").unlink()
    comparison = compare(settings(config, tmp_path / "out"))
    assert comparison.arms[1].column("contains").tolist() == [0.0, 0.0] + [1.0] * (N - 2)


def test_a_second_compare_in_the_same_folder_is_refused(stub: Any, config: Path, tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    def hold(n: int) -> None:
        started.set()
        go_on.wait()

    stub.on_ask = hold
    first = threading.Thread(target=compare, args=(settings(config, tmp_path / "out"),))
    first.start()
    try:
        started.wait()
        with pytest.raises(StoreError, match="in use by another process"):
            compare(settings(config, tmp_path / "out"))
    finally:
        go_on.set()
        first.join()


def finished(out: Path) -> set[tuple[str, str]]:
    """(arm, question id) of the answers on disk, read as any program would read them."""
    file = out / "answers.db"
    if not file.exists():
        return set()
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT arm, question FROM answers").fetchall()
    except sqlite3.OperationalError:  # killed before the first table was made
        rows = []
    connection.close()
    assert len(rows) == len(set(rows))
    return set(rows)


def kill_and_rerun(stub: Any, config: Path, out: Path, kills: int, seed: int) -> None:
    """Kill `compare` when the n-th request arrives, for random n, again and again; then let it finish."""
    questions = [json.loads(line) for line in (config.parent / "questions.jsonl").read_text().splitlines()]
    text_of = {row["id"]: row["question"] for row in questions}
    command = [sys.executable, "-m", "weightwright", "compare", "--config", str(config), "--out", str(out)]
    chance = random.Random(seed)
    for _ in range(kills):
        before, already = finished(out), Counter(stub.asked)
        left = 2 * N - len(before)
        at = sum(already.values()) + chance.randint(1, max(1, left // 2))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        stub.on_ask = lambda n, at=at, process=process: (
            process.send_signal(signal.SIGKILL) if n == at else None
        )
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors
        for arm, question in before:
            assert stub.asked[arm, text_of[question]] == already[arm, text_of[question]]
        assert finished(out) >= before
    stub.on_ask = lambda n: None
    before, already = finished(out), Counter(stub.asked)
    last = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert sum(stub.asked.values()) - sum(already.values()) == 2 * N - len(before)
    assert finished(out) == {(arm, row["id"]) for arm in ("base", "rag") for row in questions}
    data = json.loads(last.stdout)
    assert [arm["scores"]["contains"]["mean"] for arm in data["arms"]] == [0.0, 1.0]
    assert Path(data["report"]).is_file()


def test_killed_at_random_moments(stub: Any, config: Path, tmp_path: Path) -> None:
    kill_and_rerun(stub, config, tmp_path / "out", kills=5, seed=1)


@pytest.mark.slow
def test_killed_many_times(stub: Any, config: Path, tmp_path: Path) -> None:
    for seed in range(4):
        stub.asked.clear()
        kill_and_rerun(stub, config, tmp_path / f"out{seed}", kills=5, seed=10 + seed)


def test_interrupted_leaves_files_whole_and_exits_130(stub: Any, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "weightwright", "compare", "--config", str(config), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stub.on_ask = lambda n: os.kill(process.pid, signal.SIGINT) if n == 30 else None
    shown, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert shown == ""
    assert not (out / "report.html").exists()
    before = len(finished(out))
    assert 20 <= before < 2 * N
    stub.asked.clear()
    compare(settings(config, out))
    assert sum(stub.asked.values()) == 2 * N - before
