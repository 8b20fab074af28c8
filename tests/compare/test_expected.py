"""What a comparison says of its tuning before it starts: steps, time, and money where a price is given."""

import json
import re
from pathlib import Path

import pytest

from weightwright.compare.adapter import tune_settings
from weightwright.compare.expected import expected_tuning
from weightwright.compare.run import compare
from weightwright.compare.settings import CompareSettings
from weightwright.errors import DataError


@pytest.fixture
def settings(tmp_path, monkeypatch, tiny_model) -> CompareSettings:
    monkeypatch.setenv("WEIGHTWRIGHT_HOME", str(tmp_path / "home"))
    rows = [{"instruction": f"say {n}", "output": str(n)} for n in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "questions.jsonl").write_text('{"question": "say 1", "reference": "1"}\n')
    return CompareSettings.model_validate(
        {
            "model": str(tiny_model), "questions": tmp_path / "questions.jsonl", "arms": ["base", "lora"],
            "price": "3600 EUR", "out": tmp_path / "out", "answer": {"max_tokens": 2},
            "tune": {"data": tmp_path / "rows.jsonl", "epochs": 2, "batch": 4, "max_length": 128},
        }
    )  # fmt: skip


def test_steps_time_and_money_are_said_before_it_starts(settings):
    found = re.fullmatch(
        r"lora: an adapter is tuned first: 12 steps, about ([\d.]+ s)(?: at most: .* here)?, ([\d.]+) EUR",
        expected_tuning(settings, "weights"),
    )
    assert found
    assert float(found[2]) == pytest.approx(float(found[1].removesuffix(" s")), rel=0.1)  # 1 EUR a second
    free = settings.model_copy(update={"price": None})
    assert "EUR" not in expected_tuning(free, "weights")


def test_nothing_is_said_where_nothing_is_tuned(settings):
    assert expected_tuning(settings.model_copy(update={"arms": ("base", "gold")}), "weights") == ""
    remote = settings.model_copy(update={"model": "http://127.0.0.1:1/v1#m"})
    assert expected_tuning(remote, "weights") == ""
    done = tune_settings(settings, "weights").out
    done.mkdir(parents=True)
    assert "12 steps (some of them done before)" in expected_tuning(settings, "weights")
    (done / "result.json").write_text("{}")
    assert expected_tuning(settings, "weights") == ""


def test_rows_that_cannot_be_learnt_are_refused_at_once(settings):
    file: Path = settings.tune.data[0]
    file.write_text('{"prompt": "q", "chosen": "c", "rejected": "d"}\n')
    with pytest.raises(DataError, match="holds preference pairs"):
        expected_tuning(settings, "weights")


def test_a_comparison_says_it_once_and_first(settings):
    said: list[str] = []
    compare(settings, say=said.append)
    assert len(said) == 1
    assert said[0].startswith("lora: an adapter is tuned first: 12 steps")
    compare(settings, say=said.append)
    assert len(said) == 1
