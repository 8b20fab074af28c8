"""Known figures stand beside ours where they apply, each with a reason, and nowhere else."""

import pytest

from weightwright.plan.memory import estimate
from weightwright.plan.published import Published, published
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_config

LLAMA_2_7B = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
              "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096}  # fmt: skip
LLAMA_33B = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 6656, "intermediate_size": 17920,
             "num_hidden_layers": 60, "num_attention_heads": 52, "max_position_embeddings": 2048}  # fmt: skip


def figures(config: dict, **values) -> dict[str, Published]:
    spec, settings = from_config(config), PlanSettings.model_validate({"model": "x", **values})
    found = published(spec, settings, estimate(spec, settings))
    assert all(one.why and one.ours for one in found)
    return {one.figure: one for one in found}


def gigabytes(text: str) -> float:
    return float(text.replace("weights ", "").split()[0])


def test_two_bytes_a_parameter():
    found = figures(LLAMA_2_7B, precision="bf16")["FP16 takes 2 bytes a parameter: a 7B model about 14 GB"]
    assert found.published == "13.48 GB"
    assert found.ours == "weights 13.48 GB"
    packed = figures(LLAMA_2_7B, precision="int8")["FP16 takes 2 bytes a parameter: a 7B model about 14 GB"]
    assert gigabytes(packed.ours) < 7.1
    assert "int8" in packed.why


@pytest.mark.parametrize(("rank", "said"), [(8, "16.42 GB"), (16, "16.47 GB")])
def test_lora_on_llama_2_7b(rank: int, said: str):
    found = figures(LLAMA_2_7B, task="lora", rank=rank, targets="all-linear,lm_head", max_length=512)
    one = found[f"LoRA on Llama-2-7B at rank {rank}"]
    assert one.published == said
    assert 13.5 < gigabytes(one.ours) < 30
    assert f"rank {24 - rank} differs by 0.33 GB here" in one.why  # 20,277,248 weights of 16 bytes


def test_a_33b_model_in_16_and_in_4_bits():
    found = figures(LLAMA_33B, task="qlora", max_length=512)
    assert found["a 33B model in 4 bits"].published == "about 20 GB"
    one = found["a 33B model in 4 bits"]
    assert 17 < gigabytes(one.ours) < 50
    least = float(one.why.partition("--gradient-checkpointing: ")[2].split()[0])
    assert 17 < least < 23
    served = figures(LLAMA_33B, sequences=1)
    assert served["a 33B model in FP16"].published == "80 GB"
    assert 65 < gigabytes(served["a 33B model in FP16"].ours) < 80
    assert gigabytes(served["a 33B model in 4 bits"].ours) < gigabytes(served["a 33B model in FP16"].ours) / 2


def test_qlora_beside_lora_is_the_same_figure_from_both_sides():
    both = [figures(LLAMA_2_7B, task=task)["QLoRA beside LoRA"] for task in ("lora", "qlora")]
    assert both[0] == both[1]
    assert both[0].published == "-33% memory, +39% time"
    assert -60 < float(both[0].ours.partition("%")[0]) < -30


def test_figures_stand_only_where_they_apply():
    assert not figures({**LLAMA_2_7B, "num_hidden_layers": 2})
    assert not [name for name in figures(LLAMA_2_7B, task="full") if "LoRA" in name]
    assert not [name for name in figures(LLAMA_2_7B, task="lora", rank=32) if "at rank" in name]
    assert not [
        name for name in figures({**LLAMA_2_7B, "vocab_size": 32001}, task="lora") if "at rank" in name
    ]
    assert not [name for name in figures(LLAMA_2_7B, task="lora") if "33B" in name]
