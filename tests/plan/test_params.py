"""Counts equal the published ones and transformers' own models built without memory."""

import pytest

from weightwright.errors import ModelError
from weightwright.plan.params import active_params, count_lora, count_params, lora_params
from weightwright.plan.spec import FAMILIES, from_config

LLAMA_2_7B = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096,
}  # fmt: skip
SMALL = {"vocab_size": 1000, "hidden_size": 96, "intermediate_size": 208, "num_hidden_layers": 4,
         "num_attention_heads": 6, "num_key_value_heads": 2}  # fmt: skip


def test_published_counts_come_out_exactly():
    spec = from_config(LLAMA_2_7B)
    assert count_params(spec) == active_params(spec) == 6_738_415_616
    assert count_lora(spec, 8, "q_proj,v_proj") == 4_194_304
    assert count_lora(spec, 8, "all-linear,lm_head") == 20_277_248
    assert count_lora(spec, 16, "all-linear,lm_head") == 40_554_496
    assert lora_params(20_000, 10_000, 8) == 240_000
    assert 20_000 * 10_000 // lora_params(20_000, 10_000, 8) == 833


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # from the models' own cards; their code is not in transformers
        ({"model_type": "baichuan", "vocab_size": 64000, "hidden_size": 4096, "intermediate_size": 11008,
          "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096}, 7_000_559_616),
        ({"model_type": "qwen", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
          "num_hidden_layers": 32, "num_attention_heads": 32, "kv_channels": 128, "seq_length": 8192,
          "max_position_embeddings": 32768, "layer_norm_epsilon": 1e-6}, 7_721_324_544),
        ({"model_type": "baichuan", "vocab_size": 64000, "hidden_size": 5120, "intermediate_size": 13696,
          "num_hidden_layers": 40, "num_attention_heads": 40}, 13_264_901_120),
        ({"model_type": "internlm2", "vocab_size": 92544, "hidden_size": 4096, "intermediate_size": 14336,
          "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}, 7_737_708_544),
        ({"model_type": "chatglm", "padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696,
          "num_layers": 28, "num_attention_heads": 32, "kv_channels": 128, "multi_query_group_num": 2,
          "add_qkv_bias": True, "add_bias_linear": False, "seq_length": 8192, "multi_query_attention": True,
          "layernorm_epsilon": 1e-5}, 6_243_584_000),
        # two mixtures as their papers count them: 46.7B in all, 12.9B for a token (arXiv 2401.04088, §1) …
        ({"model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
          "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}, 46_702_792_704),
        # … and 30.5B in all, 3.3B for a token (Qwen3-30B-A3B)
        ({"model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
          "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128},
         30_532_122_624),
    ],
)  # fmt: skip
def test_counts_equal_the_models_cards(config: dict, parameters: int):
    assert count_params(from_config(config)) == parameters


def test_a_token_of_a_mixture_meets_few_parameters():
    small = from_config({"model_type": "mixtral", **SMALL, "num_local_experts": 5, "num_experts_per_tok": 3})
    assert count_params(small) - active_params(small) == 4 * 2 * 3 * 96 * 208
    mixtral = {"model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
               "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}  # fmt: skip
    assert round(active_params(from_config(mixtral)) / 1e9, 1) == 12.9


def test_counts_equal_transformers_models(model_config, on_meta):
    family, given = model_config
    model = on_meta(family, given)
    built = sum(weight.numel() for weight in model.parameters())
    written = {
        "to_dict": model.config.to_dict(),
        "to_diff_dict": model.config.to_diff_dict(),
        "as given": given,  # all else is what the family means
    }
    for form, config in written.items():
        spec = from_config({"model_type": family, **config})
        assert count_params(spec) == built, form
        assert spec.layers == model.config.get_text_config().num_hidden_layers, form


def test_experts_are_what_transformers_stacks(mixture_config, on_meta):
    family, given = mixture_config
    model = on_meta(family, given)
    spec = from_config({"model_type": family, **given})
    stacked = [weight for name, weight in model.named_parameters() if ".experts." in name]
    assert spec.expert_weights == sum(weight.numel() for weight in stacked)
    share = active_params(spec) / count_params(spec)
    assert 0 < share < 1


def test_every_family_of_transformers_is_checked(known_configs):
    assert set(FAMILIES) - {"baichuan"} == {family for family, _ in known_configs}
    assert len(known_configs) >= 20


def test_the_language_part_of_a_model_that_also_sees():
    text = {**SMALL, "head_dim": 32}
    plain = from_config({"model_type": "qwen3_5_text", **text, "tie_word_embeddings": True})
    assert from_config({"model_type": "qwen3_5", "tie_word_embeddings": True, "text_config": text}) == plain


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"model_type": "llama", "vocab_size": 10}, "hidden_size"),
        ({"model_type": "gpt2", "vocab_size": 10}, "n_embd"),
        ({"model_type": "dots1", **SMALL}, "n_routed_experts"),
        ({"model_type": "llama", **SMALL, "num_hidden_layers": 0}, "num_hidden_layers"),
    ],
)
def test_a_missing_size_is_named(config: dict, missing: str):
    with pytest.raises(ModelError, match=rf"must hold {missing} as a positive whole number"):
        from_config(config)
