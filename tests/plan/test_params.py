"""Counts equal the published ones and transformers' own models built without memory."""

import pytest

from weightwright.errors import ModelError, SettingsError
from weightwright.plan.params import count_lora, count_params, lora_params
from weightwright.plan.spec import from_config, from_file, from_gguf

LLAMA_2_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
SMALL = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def test_published_counts_come_out_exactly():
    spec = from_config(LLAMA_2_7B)
    assert count_params(spec) == 6_738_415_616
    assert count_lora(spec, 8, "q_proj,v_proj") == 4_194_304
    assert count_lora(spec, 8, "all-linear,lm_head") == 20_277_248
    assert count_lora(spec, 16, "all-linear,lm_head") == 40_554_496
    assert lora_params(20_000, 10_000, 8) == 240_000


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("llama", {"head_dim": 32}),
        ("smollm3", {"pad_token_id": 0}),
        ("mistral", {}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
        ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
        ("gemma", {}),
        ("gemma2", {}),
        ("gemma3_text", {"head_dim": 32}),
        ("phi3", {"pad_token_id": 0}),
        ("gpt2", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "vocab_size": 1000}),
    ],
)
@pytest.mark.parametrize("written", ["to_dict", "to_diff_dict"])
def test_counts_equal_transformers_models(family: str, changes: dict, written: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **({} if family == "gpt2" else SMALL) | changes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    spec = from_config({"model_type": family, **getattr(config, written)()})
    assert count_params(spec) == sum(weight.numel() for weight in model.parameters())


def test_lora_count_equals_peft(tiny_model):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=5, target_modules=names))
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert count_lora(from_file(tiny_model), 5) == trained


def test_a_gguf_header_gives_the_same_count(tmp_path):
    import numpy as np
    from gguf import GGUFWriter

    file = tmp_path / "m.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(160)
    writer.add_block_count(3)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(512)
    writer.add_tensor("token_embd.weight", np.zeros((1000, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = from_config({"model_type": "llama", "tie_word_embeddings": True, **SMALL})
    assert count_params(from_file(file)) == count_params(expected)
    assert from_gguf(file)["max_position_embeddings"] == 512


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=r"'mamba'.*gemma.*llama"):
        from_config({"model_type": "mamba"})


def test_a_missing_size_is_named():
    with pytest.raises(ModelError, match="hidden_size"):
        from_config({"model_type": "llama", "vocab_size": 10})


def test_an_unknown_target_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"qproj.*q_proj"):
        count_lora(from_config(LLAMA_2_7B), 8, "qproj")
