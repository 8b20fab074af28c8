"""Small and odd configs of every family that `plan` knows: no two sizes are equal, so that none can be mistaken."""

from collections.abc import Callable
from typing import Any

import pytest

SMALL: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": 96,
    "intermediate_size": 208,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
LATENT = {
    "kv_lora_rank": 40,
    "q_lora_rank": 56,
    "qk_rope_head_dim": 8,
    "v_head_dim": 20,
    "qk_nope_head_dim": 24,
}
ROUTED = {
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 72,
    "n_shared_experts": 2,
}
NUMBERED = {"num_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 72}
LOCAL = {"num_local_experts": 5, "num_experts_per_tok": 3}
LINEAR = {
    "linear_conv_kernel_dim": 3, "linear_key_head_dim": 8, "linear_value_head_dim": 12, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "head_dim": 32,
}  # fmt: skip
GPT2 = {"n_embd": 96, "n_layer": 4, "n_head": 6, "n_positions": 130, "vocab_size": 1000}
NEOX = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
OPT = {**{key: value for key, value in NEOX.items() if key != "intermediate_size"}, "ffn_dim": 208,
       "max_position_embeddings": 130}  # fmt: skip

# family, what its config says beside SMALL (or in place of it)
DENSE: list[tuple[str, dict[str, Any]]] = [
    ("llama", SMALL),
    ("llama", {**SMALL, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("llama", {**SMALL, "head_dim": 32}),
    ("smollm3", SMALL),
    ("mistral", SMALL),
    ("mistral", {**SMALL, "head_dim": 32}),
    ("ministral3", SMALL),
    ("qwen2", SMALL),
    ("qwen2", {**SMALL, "tie_word_embeddings": True}),
    ("qwen3", SMALL),
    ("qwen3", {**SMALL, "head_dim": 20, "tie_word_embeddings": True}),
    ("qwen3_5_text", {**SMALL, **LINEAR}),
    ("qwen3_5_text", {**SMALL, **LINEAR, "layer_types": ["linear_attention", "full_attention"] * 2}),
    ("gemma", SMALL),
    ("gemma2", SMALL),
    ("gemma3_text", {**SMALL, "head_dim": 32}),
    ("phi", SMALL),
    ("phi", {**SMALL, "qk_layernorm": True}),
    ("phi3", SMALL),
    ("gpt2", GPT2),
    ("gpt2", {**GPT2, "n_inner": 200}),
    ("gpt_neox", NEOX),
    ("opt", OPT),
    ("opt", {**OPT, "word_embed_proj_dim": 40, "do_layer_norm_before": False, "enable_bias": False}),
    ("starcoder2", SMALL),
    ("starcoder2", {**SMALL, "use_bias": False, "tie_word_embeddings": False}),
    ("granite", SMALL),
    ("olmo2", SMALL),
    ("olmo3", SMALL),
    ("cohere", {**SMALL, "use_qk_norm": True}),
    ("cohere2", SMALL),
    ("exaone4", SMALL),
    ("glm", SMALL),
    ("glm4", {**SMALL, "attention_bias": False, "head_dim": 20}),
    ("ernie4_5", {**SMALL, "use_bias": True}),
    ("hunyuan_v1_dense", {**SMALL, "head_dim": 20}),
    ("internlm3", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    ("seed_oss", SMALL),
]
MIXTURES: list[tuple[str, dict[str, Any]]] = [
    ("mixtral", {**SMALL, **LOCAL}),
    ("qwen2_moe", {**SMALL, **NUMBERED, "shared_expert_intermediate_size": 88}),
    ("qwen2_moe", {**SMALL, **NUMBERED, "decoder_sparse_step": 2, "mlp_only_layers": [1]}),
    ("qwen3_moe", {**SMALL, **NUMBERED}),
    ("qwen3_moe", {**SMALL, **NUMBERED, "mlp_only_layers": [0, 3], "attention_bias": True, "head_dim": 20}),
    ("qwen3_next", {**SMALL, **NUMBERED, **LINEAR, "shared_expert_intermediate_size": 88}),
    ("qwen3_5_moe_text", {**SMALL, **NUMBERED, **LINEAR, "shared_expert_intermediate_size": 88}),
    ("deepseek_v2", {**SMALL, **ROUTED, **LATENT, "first_k_dense_replace": 1}),
    ("deepseek_v2", {**SMALL, **ROUTED, **LATENT, "q_lora_rank": None, "mlp_bias": True}),
    ("deepseek_v3", {**SMALL, **ROUTED, **LATENT}),
    ("deepseek_v3", {**SMALL, **ROUTED, **LATENT, "first_k_dense_replace": 2, "attention_bias": True}),
    ("glm4_moe_lite", {**SMALL, **ROUTED, **LATENT}),
    ("glm4_moe", {**SMALL, **ROUTED, "use_qk_norm": True, "attention_bias": True}),
    ("dots1", {**SMALL, **ROUTED, "first_k_dense_replace": 1}),
    ("gpt_oss", {**SMALL, **LOCAL}),
    ("minimax_m2", {**SMALL, **LOCAL}),
    ("granitemoe", {**SMALL, **LOCAL}),
    ("olmoe", {**SMALL, **NUMBERED}),
    ("phimoe", {**SMALL, **LOCAL, "lm_head_bias": True, "attention_bias": True}),
    ("hunyuan_v1_moe", {**SMALL, "num_experts": 5, "moe_topk": 2, "head_dim": 20}),
    ("ernie4_5_moe", {**SMALL, "moe_num_experts": 5, "moe_k": 2, "moe_layer_start_index": 1,
                      "moe_layer_end_index": 2}),
    ("ernie4_5_moe", {**SMALL, "moe_num_experts": 12, "moe_k": 3, "moe_intermediate_size": 72, "use_bias": True,
                      "moe_layer_interval": 2}),
]  # fmt: skip
ALL = DENSE + MIXTURES


def _names(configs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """A name a config, numbered where a family comes again."""
    found: list[str] = []
    for family, _ in configs:
        again = sum(name.partition("-")[0] == family for name in found)
        found.append(f"{family}-{again + 1}" if again else family)
    return found


@pytest.fixture(params=ALL, ids=_names(ALL))
def model_config(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A family and what its config says, for every family of transformers that `plan` knows."""
    return request.param


@pytest.fixture(params=MIXTURES, ids=_names(MIXTURES))
def mixture_config(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The same, mixtures of experts only."""
    return request.param


@pytest.fixture
def known_configs() -> list[tuple[str, dict[str, Any]]]:
    """All of them."""
    return ALL


@pytest.fixture
def on_meta() -> Callable[[str, dict[str, Any]], Any]:
    """Makes transformers' own model of a config, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def make(family: str, given: dict[str, Any]) -> Any:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **given))

    return make
