"""Five planted runs, each with what it should be told: the diagnosis of real curves of the tiny model."""

import json
import random
from pathlib import Path

import pytest

from weightwright.errors import TuneError
from weightwright.tune.run import tune

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def write(file: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"instruction": question, "output": answer}) for question, answer in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def lawful(count: int, seed: int) -> list[tuple[str, str]]:
    """Rows whose answer follows from the question."""
    chance = random.Random(seed)
    return [(f"Say {a} {b}", f"{a} {b}") for a, b in (chance.sample(WORDS, 2) for _ in range(count))]


def lawless(count: int, seed: int) -> list[tuple[str, str]]:
    """Rows whose answer is noise."""
    chance = random.Random(seed)
    noise = ["".join(chance.choice("abcdefghijklmnop") for _ in range(12)) for _ in range(count)]
    return [(f"Say {seed} {i}", text) for i, text in enumerate(noise)]


def test_fine(make, tmp_path):
    data, held_out = write(tmp_path / "a.jsonl", lawful(60, 1)), write(tmp_path / "b.jsonl", lawful(12, 2))
    result = tune(make(data=data, eval_data=held_out, epochs=2, learning_rate=3e-3))
    assert any(line.startswith("fine:") for line in result.diagnosis), result.diagnosis


def test_underfit(make, tmp_path):
    data, held_out = write(tmp_path / "a.jsonl", lawful(30, 1)), write(tmp_path / "b.jsonl", lawful(12, 2))
    result = tune(make(data=data, eval_data=held_out, learning_rate=1e-6))
    assert any(line.startswith("underfit:") for line in result.diagnosis), result.diagnosis


def test_overfit(make, tmp_path):
    data, held_out = write(tmp_path / "a.jsonl", lawless(9, 1)), write(tmp_path / "b.jsonl", lawless(12, 2))
    result = tune(make(data=data, eval_data=held_out, epochs=80, rank=16, learning_rate=2e-2, eval_every=12))
    assert any(line.startswith("overfit:") for line in result.diagnosis), result.diagnosis
    assert "a lower rank, more data, more weight decay, more dropout, fewer epochs, in that order" in str(
        result.diagnosis
    )


def test_leaked(make, tmp_path):
    rows = lawful(60, 1)
    data = write(tmp_path / "a.jsonl", rows)
    held_out = write(tmp_path / "b.jsonl", [*rows[:5], ("Say something else", "well")])
    result = tune(make(data=data, eval_data=held_out, learning_rate=3e-3))
    assert result.diagnosis[0].startswith("leak: 5 of 6 held-out rows are among those trained on")


def test_diverging_stops_with_the_last_good_checkpoint(make, tmp_path):
    data = write(tmp_path / "a.jsonl", lawful(60, 1))
    settings = make(
        data=data, method="full", epochs=4, optimizer="sgd", learning_rate=1.0, max_grad_norm=1e9, save_every=2,
        schedule="constant",
    )  # fmt: skip
    with pytest.raises(
        TuneError, match=r"step \d+: the loss has .*the last good checkpoint is .*; lower --learning-rate"
    ):
        tune(settings)
    assert list((settings.out / "checkpoints").glob("step-*"))
