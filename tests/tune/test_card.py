"""The card beside what a run has learnt: a head that hubs read, and nothing of this machine's paths."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from weightwright.tune.card import card
from weightwright.tune.run import tune
from weightwright.weights.load import load


def head(text: str) -> dict[str, Any]:
    start, values, _ = text.split("---\n", maxsplit=2)
    assert start == ""
    read: dict[str, Any] = yaml.safe_load(values)
    return read


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("license: mit", {"license": "mit"}),
        ("license: other\nlicense_name: qwen", {"license": "other", "license_name": "qwen"}),
        ("tags: [x]", {}),
    ],
)
def test_a_run_leaves_a_card(
    make, tiny_model: Path, tmp_path: Path, said: str, expected: dict[str, str]
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "README.md").write_text(f"---\n{said}\n---\n# Base\n")
    settings = make(model=str(base), max_steps=1)
    result = tune(settings)
    assert result.adapter is not None
    text = (result.adapter / "README.md").read_text(encoding="utf-8")
    read = head(text)
    assert {name: value for name, value in read.items() if name.startswith("license")} == expected
    assert read["library_name"] == "peft"
    assert read["tags"] == ["lora", "sft", "weightwright"]
    assert "base_model" not in read  # a folder of this machine is nothing that a hub knows
    assert str(tmp_path) not in text
    assert f"{result.train_loss:.4f}" in text
    assert "12 rows of `rows.jsonl`" in text
    assert f"| learning_rate | {settings.peak_learning_rate:g} |" in text  # what it was, said or not
    assert f"| alpha | {settings.lora_alpha:g} |" in text
    loaded = load(str(base), precision="f32", device="cpu")
    assert loaded.fingerprint in text
    named = card(replace_model(settings, "Qwen/Qwen2.5-0.5B"), replace(result, eval_loss=1.5), loaded, 12)
    assert head(named)["base_model"] == "Qwen/Qwen2.5-0.5B"
    assert "held-out rows: 1.5000" in named


def replace_model(settings: Any, model: str) -> Any:
    return settings.model_copy(update={"model": model})
