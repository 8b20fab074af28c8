"""Adapters' counts equal peft's own models, for many families, targets and ranks."""

import warnings
from typing import Any

import pytest

from weightwright.errors import SettingsError
from weightwright.plan.params import count_lora, targeted
from weightwright.plan.spec import from_config, from_file

SMALL = {"vocab_size": 1000, "hidden_size": 96, "intermediate_size": 208, "num_hidden_layers": 4,
         "num_attention_heads": 6, "num_key_value_heads": 2, "pad_token_id": 0}  # fmt: skip
LLAMA = {"model_type": "llama", **SMALL}
OPT = {"vocab_size": 1000, "hidden_size": 96, "ffn_dim": 208, "num_hidden_layers": 4, "num_attention_heads": 6,
       "max_position_embeddings": 130}  # fmt: skip
GPT2 = {"vocab_size": 1000, "n_embd": 96, "n_layer": 4, "n_head": 6, "n_positions": 130}


def adapted(model: Any, **options: Any) -> int:
    """Weights that peft makes trainable."""
    import torch
    from peft import LoraConfig, get_peft_model

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    return sum(weight.numel() for weight in whole.parameters() if weight.requires_grad)


@pytest.mark.parametrize(("targets", "rank"), [("all-linear", 4), ("all-linear,lm_head", 7)])
def test_the_count_is_of_the_linear_layers(model_config, on_meta, targets: str, rank: int):
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    family, given = model_config
    model = on_meta(family, given)
    head = model.get_output_embeddings()
    spec = from_config({"model_type": family, **given})
    matrices = [
        module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and module is not head
        and name.split(".")[-1] not in spec.taken
    ]
    if "lm_head" in targets:
        matrices.append(head)
    expected = sum(rank * sum(module.weight.shape) for module in matrices)
    assert count_lora(spec, rank, targets) == expected


def test_all_linear_is_what_peft_adapts_when_told_these_names(model_config, on_meta):
    family, given = model_config
    spec = from_config({"model_type": family, **given})
    names = sorted({linear.name for _, linear in targeted(spec, "all-linear")})
    trained = adapted(on_meta(family, given), r=4, target_modules=names, fan_in_fan_out=family == "gpt2")
    assert count_lora(spec, 4) == trained


def test_peft_takes_the_names_that_are_left_out_for_the_experts(mixture_config, on_meta):
    """Were it otherwise, these layers could be adapted."""
    family, given = mixture_config
    spec = from_config({"model_type": family, **given})
    taken = sorted(
        {linear.name for layer in spec.kinds for linear in layer.linears} & set(spec.taken) - {"router"}
    )
    if not taken:
        return
    beside = sum(
        4 * layer.count * (linear.inputs + linear.outputs)
        for layer in spec.kinds
        for linear in layer.linears
        if linear.name in taken
    )
    assert adapted(on_meta(family, given), r=4, target_modules=taken) != beside
    with pytest.raises(SettingsError, match=rf"targets: no adapter reaches {taken[0]} of {family}: .*o_proj"):
        count_lora(spec, 4, taken[0])


@pytest.mark.parametrize(
    ("family", "given"),
    [
        ("llama", SMALL), ("qwen2", SMALL), ("qwen3", SMALL), ("gemma3_text", SMALL), ("phi", SMALL), ("phi3", SMALL),
        ("opt", OPT),
        ("glm4", SMALL), ("starcoder2", SMALL), ("granitemoe", {**SMALL, "num_local_experts": 5}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rank", [1, 8])
def test_counts_equal_pefts(on_meta, family: str, given: dict, rank: int):
    spec = from_config({"model_type": family, **given})
    matrices = [linear.name for layer in spec.kinds for linear in layer.linears]
    for targets in (matrices, matrices[:2], [matrices[-1]], [*matrices, "lm_head"]):
        trained = adapted(on_meta(family, given), r=rank, target_modules=targets)
        assert count_lora(spec, rank, ",".join(targets)) == trained


def test_conv1d_counts_as_linear(on_meta):
    spec = from_config({"model_type": "gpt2", **GPT2})
    trained = adapted(on_meta("gpt2", GPT2), r=4, target_modules="all-linear", fan_in_fan_out=True)
    assert count_lora(spec, 4) == trained


def test_dora_adds_a_magnitude_an_output(on_meta):
    spec = from_config({"model_type": "qwen2", **SMALL})
    targets = ["q_proj", "down_proj"]
    trained = adapted(on_meta("qwen2", SMALL), r=4, target_modules=targets, use_dora=True)
    assert count_lora(spec, 4, ",".join(targets), dora=True) == trained


def test_the_count_is_what_tuning_trains(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM

    from weightwright.tune.adapt import adapted as tuning
    from weightwright.tune.settings import TuneSettings

    settings = TuneSettings(model="x", data=tmp_path, out=tmp_path, rank=5, targets="all-linear,lm_head")
    with tuning(AutoModelForCausalLM.from_pretrained(tiny_model), settings, "x") as ready:
        trained = sum(weight.numel() for weight in ready.trainable.values())
    assert count_lora(from_file(tiny_model), 5, "all-linear,lm_head") == trained


def test_an_unknown_target_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"qproj.*q_proj"):
        count_lora(from_config(LLAMA), 8, "qproj")


def test_no_target_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"names no layer; known: down_proj.*lm_head"):
        count_lora(from_config(LLAMA), 8, " , ")
