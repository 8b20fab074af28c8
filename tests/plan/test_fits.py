"""What cannot fit is refused with what to change; what can is let through."""

import json
from pathlib import Path

import pytest

from weightwright.errors import MemoryLimitError
from weightwright.plan.fits import require_room
from weightwright.plan.memory import estimate
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_file

LLAMA_7B = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_7B), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("task", ["serve", "lora", "full"])
def test_the_limit_is_the_estimate(model, task):
    settings = PlanSettings(model=str(model), task=task)
    peak = estimate(from_file(model), settings).peak.total_bytes
    require_room(model, settings, peak)
    require_room(model, settings, 0)  # a machine that does not say
    with pytest.raises(MemoryLimitError, match=rf"{task} needs .* GB at its peak .* GB are free; try --"):
        require_room(model, settings, peak - 1)


def test_the_remedy_leads_to_what_fits(model):
    settings = PlanSettings(model=str(model), task="serve", sequences=64, context=4096)
    with pytest.raises(MemoryLimitError, match=r"--sequences 32"):
        require_room(model, settings, 40_000_000_000)


def test_a_family_that_is_not_known_is_let_through(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unheard-of"}), encoding="utf-8")
    require_room(tmp_path, PlanSettings(model=str(tmp_path)), 1)
