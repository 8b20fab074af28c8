"""Tiny models of the families that transformers knows: its default configs with every size and window shrunk."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest

LAYERS = 4
# `make test` tries these, `make test-slow` all
COMMON = frozenset({
    "bart", "bloom", "cohere2", "deepseek_v3", "diffllama", "ernie4_5", "falcon", "falcon_h1", "gemma2",
    "gemma3_text", "gemma3n_text", "gemma4_text", "glm4", "glm4_moe", "gpt2", "gpt_neo", "gpt_neox", "gpt_oss",
    "gptj", "granite",
    "granitemoehybrid", "hunyuan_v1_dense", "inkling_text", "internlm3", "jamba", "lfm2", "llama", "llama4_text",
    "llava", "mamba", "mamba2", "mistral", "mistral3", "mixtral", "modernbert-decoder", "mpt", "olmo2", "opt", "phi",
    "phi3", "phimoe", "qwen2", "qwen2_5_vl", "qwen2_moe", "qwen3", "qwen3_5_text", "qwen3_moe", "qwen3_next",
    "qwen3_vl", "seed_oss", "smollm3", "stablelm", "starcoder2",
})  # fmt: skip
_SIZES: tuple[tuple[str, int], ...] = (
    ("hidden_size|d_model|n_embd|dim|embed_dim|word_embed_proj_dim|hidden_dim|embedding_size|d_embed", 64),
    ("intermediate_size|ffn_dim|n_inner|d_ff|dff|mlp_hidden_size|ffn_hidden_size|decoder_ffn_dim", 96),
    ("encoder_ffn_dim|mlp_dim|dense_intermediate_size|prefix_dense_intermediate_size|intermediate_dim", 96),
    ("shared_intermediate_size", 96),
    ("moe_intermediate_size|expert_ffn_hidden_size|shared_expert_intermediate_size|intermediate_size_mlp", 32),
    ("moe_shared_expert_intermediate_size|mamba_d_ssm", 64),
    ("num_hidden_layers|n_layer|n_layers|num_layers|decoder_layers|encoder_layers|num_decoder_layers", LAYERS),
    ("num_attention_heads|n_head|n_heads|num_heads|decoder_attention_heads|encoder_attention_heads", 4),
    ("num_key_value_heads|num_kv_heads|n_head_kv|num_global_key_value_heads|attention_num_key_value_heads", 2),
    ("head_dim|global_head_dim|attention_head_dim|v_head_dim|kv_channels|attention_dim|index_head_dim", 16),
    ("vocab_size|vocab_size_per_layer_input|n_vocab", 320),
    ("max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|seq_length|context_length", 256),
    ("num_experts|num_local_experts|n_routed_experts|moe_num_experts|n_experts", 4),
    ("num_experts_per_tok|moe_topk|moe_k|top_k_experts|num_experts_per_token|num_selected_experts|top_k_experts", 2),
    ("kv_lora_rank|q_lora_rank|o_lora_rank", 16),
    ("qk_rope_head_dim|qk_nope_head_dim|rotary_dim|index_rope_head_dim", 8),
    ("n_group|topk_group|n_groups|mamba_n_groups|mamba_ngroups|first_k_dense_replace|o_groups", 1),
    ("sliding_window|attention_chunk_size|index_topk|keep_window_size|sliding_window_size|local_attention", 8),
    ("window_size|attention_window_size|index_block_size", 8),
    ("index_topk_blocks|num_mem_blocks", 1),
    ("linear_num_key_heads|linear_num_value_heads|index_n_heads", 2),
    ("linear_key_head_dim|linear_value_head_dim|mamba_d_state|ssm_state_size|state_size|mamba_dt_rank", 16),
    ("mamba_n_heads|mamba_num_heads|n_mamba_heads|linear_num_heads", 4),
    ("mamba_d_head|mamba_head_dim|mamba_headdim", 32),
    ("hidden_size_per_layer_input", 16),
    ("num_kv_shared_layers|num_nextn_predict_layers", 0),
    ("lru_width|dual_chunk", 64),
    ("bos_token_id", 1), ("eos_token_id", 2), ("pad_token_id", 0), ("decoder_start_token_id", 1),
)  # fmt: skip
_RULES = {name: size for names, size in _SIZES for name in names.split("|")}
# what the rules do not say
_OWN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"head_dim": 32},
    "falcon_h1": {"mamba_d_head": 16},
    "deepseek_v2": {"topk_method": "greedy", "n_group": 1, "num_experts_per_tok": 2},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "moe_topk": 2},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 16},
    "dots1": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "num_key_value_heads": 2,
    },
    "zamba2": {"mamba_expand": 2, "mamba_headdim": 32, "n_mamba_heads": 4, "hybrid_layer_ids": [1, 3]},
}
# of the rotary embedding, by time, height and width: half a head together
_SECTIONS = {"qwen2_vl": [2, 3, 3], "qwen2_5_vl": [2, 3, 3], "glm4v": [2, 3, 3], "glm4v_moe": [1, 1, 2]}


def families(names: Iterable[str], common: Collection[str] = COMMON) -> list[Any]:
    """Names to parametrise a test with: those that are not common only with `make test-slow`."""
    return [name if name in common else pytest.param(name, marks=pytest.mark.slow) for name in sorted(names)]


def tiny_config(model_type: str) -> Any:
    """The config of a tiny model of a family. Raises what its class raises where the shrunk sizes do not fit."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    values = shrunk(kind().to_dict()) | _OWN.get(model_type, {})
    values.pop("model_type", None)
    if model_type in _SECTIONS:
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": _SECTIONS[model_type]}
        values["text_config"]["rope_parameters"] = rope
    config = kind(**values)
    for one in (config, config.get_text_config()):
        for name in ("initializer_range", "init_std", "initializer_factor"):
            if hasattr(one, name):
                setattr(one, name, 0.2)
    return config


def shrunk(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values with sizes that take milliseconds; lists of layers keep one of each kind."""
    layers = next(
        (
            values[name]
            for name in ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
            if name in values
        ),
        0,
    )
    latent = "kv_lora_rank" in values and values.get("kv_lora_rank")
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name == "per_layer_config":
            out[name] = {key: one for key, one in value.items() if int(key) < LAYERS}
        elif isinstance(value, dict) and (name.endswith("_config") or name == "decoder"):
            out[name] = shrunk(value)
        elif isinstance(value, list) and layers and len(value) in (layers, layers + 1):
            out[name] = _layers(value)
        elif name.endswith("token_id") and not isinstance(value, list):
            out[name] = _RULES.get(name, 300)
        elif latent and name in ("num_key_value_heads", "head_dim"):
            out[name] = 4 if name == "num_key_value_heads" else 8
        elif isinstance(value, int) and not isinstance(value, bool) and name in _RULES:
            out[name] = _RULES[name]
        else:
            out[name] = value
    return out


def _layers(value: list[Any]) -> list[Any]:
    """Four of a list, one of each kind among them."""
    kinds = [next(one for one in value if str(one) == kind) for kind in dict.fromkeys(map(str, value))]
    return (kinds + value)[:LAYERS] if len(kinds) <= LAYERS else kinds[:LAYERS]
