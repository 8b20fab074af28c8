"""How long a run is expected to take, said before its first step: for long runs only, and for what can be planned."""

import json
from pathlib import Path

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.tune.batch import Example
from weightwright.tune.examples import Examples
from weightwright.tune.expected import expected_note
from weightwright.tune.settings import TuneSettings
from weightwright.tune.state import RunPlan

LLAMA = {"model_type": "llama", "vocab_size": 500, "hidden_size": 128, "intermediate_size": 256,
         "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 1024}  # fmt: skip


def run_of(folder: Path, rows: int, **options: object) -> RunPlan:
    settings = TuneSettings(
        model="x", data=folder, out=folder, batch=8, gradient_checkpointing=False, **options
    )
    example = Example((Encoded((1,) * 256, (True,) * 256, Place()),))
    return RunPlan(
        examples=Examples([example] * rows),
        eval_examples=Examples(),
        steps=rows * settings.epochs // 8,
        batch=8,
        warmup=0,
        eval_every=1,
        save_every=100,
        pass_tokens=1024,
        settings=settings,
        packed=True,
    )


def test_a_long_run_says_its_time_a_short_one_nothing(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    said = expected_note(tmp_path, run_of(tmp_path, 800, epochs=2000), "cpu")
    assert "for 200,000 steps (" in said
    assert "tokens/s) expected" in said
    assert not expected_note(tmp_path, run_of(tmp_path, 8), "cpu")
    assert not expected_note(tmp_path, run_of(tmp_path, 800, epochs=2000), "cuda")
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "model_type": "nonesuch"}), encoding="utf-8")
    assert not expected_note(tmp_path, run_of(tmp_path, 800, epochs=2000), "cpu")
