"""What cannot fit is refused with what to change; what can is let through."""

import json
from pathlib import Path

import pytest

from weightwright.errors import MemoryLimitError
from weightwright.plan.fits import decide, require_room
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
    settings = PlanSettings(model=str(model), task=task, gradient_checkpointing=False)
    peak = estimate(from_file(model), settings).peak.total_bytes
    require_room(model, settings, peak)
    require_room(model, settings, 0)  # a machine that does not say
    with pytest.raises(MemoryLimitError, match=rf"{task} needs .* GB at its peak .* GB are free; try --"):
        require_room(model, settings, peak - 1)


def test_the_remedy_leads_to_what_fits(model):
    settings = PlanSettings(model=str(model), task="serve", sequences=64, context=4096)
    with pytest.raises(MemoryLimitError, match=r"--sequences 32"):
        require_room(model, settings, 40_000_000_000)


@pytest.fixture
def peaks(model) -> tuple[int, int]:
    """What LoRA needs without recomputing activations, and with it."""
    on = (False, True)
    each = (
        PlanSettings(model=str(model), task="lora", max_length=512, gradient_checkpointing=one) for one in on
    )
    without, recomputing = (estimate(from_file(model), one).peak.total_bytes for one in each)
    return without, recomputing


def test_auto_recomputes_only_where_it_fits_so_and_only_so(model, peaks):
    spec, settings = from_file(model), PlanSettings(model=str(model), task="lora", max_length=512)
    without, recomputing = peaks
    assert recomputing < without
    chosen = {
        limit: decide(spec, settings, limit).settings.gradient_checkpointing
        for limit in (0, recomputing - 1, recomputing, without - 1, without)
    }
    assert [*chosen.values()] == [False, False, True, "mlp", False]
    why = decide(spec, settings, recomputing).why
    assert why.startswith(
        f"{without / 1e9:.2f} GB would be needed without, {recomputing / 1e9:.2f} GB with it"
    )
    assert not decide(spec, settings, without).why


@pytest.mark.parametrize("said", [True, False])
def test_what_was_said_is_kept(model, peaks, said):
    settings = PlanSettings(model=str(model), task="lora", max_length=512, gradient_checkpointing=said)
    for limit in peaks:
        assert decide(from_file(model), settings, limit).settings is settings


def test_serving_has_nothing_to_recompute(model):
    assert not decide(from_file(model), PlanSettings(model="x"), 1).settings.gradient_checkpointing


def test_each_process_has_activations_of_its_own(model, peaks):
    spec, settings = from_file(model), PlanSettings(model=str(model), task="lora", max_length=512)
    without, _ = peaks
    assert decide(spec, settings, without, processes=2).settings.gradient_checkpointing is True


def test_what_fits_with_activations_recomputed_is_let_through(model, peaks):
    settings = PlanSettings(model=str(model), task="lora", max_length=512)
    _, recomputing = peaks
    require_room(model, settings, recomputing)
    with pytest.raises(MemoryLimitError, match=r"--micro-batch 1"):
        require_room(model, settings, recomputing - 1)


def test_a_family_that_is_not_known_is_let_through(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unheard-of"}), encoding="utf-8")
    require_room(tmp_path, PlanSettings(model=str(tmp_path)), 1)
