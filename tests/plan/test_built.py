"""Families that `plan` does not know by itself: counted from the modules that transformers makes of them."""

import json
import subprocess
from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D

from weightwright.errors import ModelError
from weightwright.plan import building, built, memory
from weightwright.plan.params import count_lora, count_params
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import FAMILIES, ModelSpec, from_config

NAMED = (
    "gemma3", "gemma3n", "gemma4", "mistral3", "qwen3_vl", "llama4", "granitemoehybrid", "falcon_h1", "nemotron_h",
    "jamba", "lfm2", "mamba", "mamba2", "apertus", "arcee", "olmo",
)  # fmt: skip
LAYERS = 4


def config_of(family: str) -> dict[str, Any]:
    """The family's own default config, of few layers where it may be."""
    config = AutoConfig.for_model(family)
    text = config.get_text_config(decoder=True)
    if not getattr(text, "layer_types", None):
        for name in ("num_hidden_layers", "n_layer", "num_layers"):
            if getattr(text, name, 0) > LAYERS:
                setattr(text, name, LAYERS)
                break
    found: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    return found


def described(family: str, config: dict[str, Any]) -> ModelSpec:
    return ModelSpec(family=family, **built._read(json.loads(json.dumps(building.described(config)))))


def counted(config: dict[str, Any]) -> tuple[int, int]:
    """Of transformers' model: parameters, and those of a rank-8 adapter on all its language model's linear layers."""
    model = building.build(config)
    model.tie_weights()
    head = model.get_output_embeddings()
    adapted = 0
    for module in model.get_decoder().modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            adapted += 8 * (module.in_features + module.out_features)
        elif isinstance(module, Conv1D):
            adapted += 8 * sum(module.weight.shape)
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values()), adapted


@pytest.mark.parametrize("family", NAMED)
def test_counts_are_those_of_transformers_own_model(family):
    assert family in {**MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, **MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    config = config_of(family)
    spec = described(family, config)
    assert (count_params(spec), count_lora(spec, 8)) == counted(config)
    for task in ("serve", "lora"):
        settings = PlanSettings(model="x", task=task, gradient_checkpointing=False)
        assert memory.estimate(spec, settings).peak.total_bytes > 2 * count_params(spec) / 4


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "qwen3", "gemma2", "gpt2", "opt", "mixtral", "qwen3_moe"]
)
def test_families_that_are_known_come_out_alike(family, known_configs):
    given = next(config for name, config in known_configs if name == family)
    mine, theirs = (
        from_config({"model_type": family, **given}),
        described(family, {"model_type": family, **given}),
    )
    assert count_params(mine) == count_params(theirs)
    assert count_lora(mine, 8) == count_lora(theirs, 8)
    for kind, other in zip(mine.kinds, theirs.kinds, strict=True):
        for name in ("count", "queries", "keys", "values", "kv_heads", "inner", "gated", "qk_norm", "state"):
            assert getattr(kind, name) == getattr(other, name), name
        assert (kind.experts is None) == (other.experts is None)
        assert kind.experts is None or kind.experts.active == other.experts.active


def test_a_child_builds_it_once(monkeypatch):
    config = {"model_type": "olmo", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
              "num_hidden_layers": 2, "num_attention_heads": 4}  # fmt: skip
    assert "olmo" not in FAMILIES
    found = from_config(config)
    monkeypatch.setattr(subprocess, "run", None)
    assert from_config(config) == found
    assert count_params(found) == counted(config)[0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "nonesuch"},
            "cannot plan for the family 'nonesuch', which transformers .*: it is not known",
        ),
        ({"model_type": "olmo", "hidden_size": "wide"}, "cannot plan for the family 'olmo'"),
    ],
)
def test_what_transformers_does_not_build_is_one_line(config, said):
    with pytest.raises(ModelError, match=said) as error:
        from_config(config)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_config_without_a_family_starts_no_child(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(ModelError, match=r"names no family \(model_type\); known: .*llama"):
        from_config({"hidden_size": 3})


def test_a_build_that_takes_too_long_is_stopped(monkeypatch):
    monkeypatch.setattr(built, "_TIMEOUT_S", 0.01)
    with pytest.raises(ModelError, match=r"did not build the family 'olmo' within 0 s"):
        from_config({"model_type": "olmo"})
