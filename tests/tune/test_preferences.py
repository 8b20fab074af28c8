"""Runs that compare answers: DPO, ORPO, SimPO, KTO, and pretraining, on the tiny model."""

import json
from pathlib import Path

import pytest
import torch

from weightwright.errors import DataError, TuneError
from weightwright.tune import loop
from weightwright.tune.run import tune

PAIRS = [
    {"instruction": f"Say {word}", "chosen": f"{word} is good", "rejected": f"{word} was bad, I think"}
    for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
]


def write(file: Path, rows: list[dict]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", PAIRS)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    rows = [
        {"instruction": row["instruction"], "output": row[side], "kto_tag": side == "chosen"}
        for row in PAIRS
        for side in ("chosen", "rejected")
    ]
    return write(tmp_path / "judged.jsonl", rows)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("objective", ["dpo", "orpo", "simpo"])
def test_pairs_are_learnt(make, pairs, objective, packing):
    settings = make(
        data=pairs,
        eval_data=pairs,
        objective=objective,
        epochs=8,
        learning_rate=3e-3,
        batch=5,
        packing=packing,
    )
    result = tune(settings)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    evals = [line for line in log if "eval_loss" in line]
    assert evals[-1]["eval_loss"] < evals[0]["eval_loss"] - 0.1
    assert result.preferred is not None
    assert result.preferred["share"] == evals[-1]["eval_preference_accuracy"] == 1.0
    assert result.preferred["low"] > 0.5
    assert result.preferred["pairs"] == 10


def test_dpo_begins_at_the_logarithm_of_two(make, pairs):
    """The policy is its own reference before the first step."""
    settings = make(data=pairs, objective="dpo", max_steps=1)
    assert tune(settings).train_loss == pytest.approx(0.693147, abs=1e-5)


def test_it_says_what_it_does_before_the_first_step(make, pairs):
    said = []
    tune(
        make(data=pairs, eval_data=pairs, objective="dpo", epochs=1), progress=lambda *told: said.append(told)
    )
    begun = [note for done, _, note in said if not done]
    assert begun[-2:] == ["10 of 10 held-out rows read", "24 of 24 general questions read"]
    assert begun.count("the base model has read 20 of 20 rows") == 2  # those trained on, and those held out


def test_judgements_are_learnt(make, judged):
    settings = make(data=judged, eval_data=judged, objective="kto", epochs=8, learning_rate=3e-3, batch=5)
    tune(settings)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    evals = [line["eval_loss"] for line in log if "eval_loss" in line]
    assert evals[0] == pytest.approx(0.5, abs=1e-5)
    assert evals[-1] < 0.45


def test_texts_are_learnt_whole(make, tmp_path):
    texts = write(tmp_path / "texts.jsonl", [{"text": "again and again " * 12}] * 8)
    settings = make(data=texts, eval_data=texts, objective="pretrain", epochs=4, learning_rate=5e-3, max_length=64,
                    too_long="split")  # fmt: skip
    result = tune(settings)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    evals = [line["eval_loss"] for line in log if "eval_loss" in line]
    assert evals[-1] < 0.7 * evals[0]
    assert any("8 of 8 rows split at 64 tokens" in note for note in result.notes)


def test_a_file_of_another_kind_is_refused_by_name(make, pairs, rows):
    with pytest.raises(DataError, match="objective"):
        tune(make(data=rows, objective="dpo"))
    with pytest.raises(DataError, match="objective"):
        tune(make(data=pairs))


def test_pairs_cannot_be_split(make, pairs):
    with pytest.raises(TuneError, match="too_long=split cuts rows into pieces"):
        tune(make(data=pairs, objective="dpo", max_length=30, too_long="split"))


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_resumed_run_keeps_its_reference(make, pairs, judged, tmp_path, monkeypatch, objective):
    options = {"data": pairs if objective == "dpo" else judged, "objective": objective, "learning_rate": 3e-3,
               "save_every": 1, "batch": 5}  # fmt: skip
    whole = make(**options, out=tmp_path / "whole")
    tune(whole)
    steps = loop.update_weights
    taken = []

    def stops(run, loss):
        if len(taken) == 1:
            raise KeyboardInterrupt
        taken.append(1)
        return steps(run, loss)

    monkeypatch.setattr(loop, "update_weights", stops)
    halved = make(**options, out=tmp_path / "halved")
    with pytest.raises(KeyboardInterrupt):
        tune(halved)
    kept = (halved.out / "reference.json").read_bytes()
    monkeypatch.setattr(loop, "update_weights", steps)
    tune(halved)
    assert (halved.out / "reference.json").read_bytes() == kept
    from safetensors.torch import load_file

    first, second = (load_file(s.out / "adapter" / "adapter_model.safetensors") for s in (whole, halved))
    assert all(torch.equal(first[name], second[name]) for name in first)
