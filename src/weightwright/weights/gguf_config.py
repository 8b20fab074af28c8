"""The transformers config of the model in a GGUF file.

transformers' own table gives the family and its main sizes; what it leaves out (rotary scaling, widths of heads and
experts, soft caps, windows, biases) is added from the header and the tensors that the file has, by the names that
llama.cpp's converter writes. Mixtral and DeepSeek 2 and 3, which that table lacks, are described here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightwright.hub import gguf_reader
from weightwright.weights import gguf_header
from weightwright.weights.gguf_rope import rope_parameters

# of transformers' config, by the header's key
_KEYS = {
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "num_experts": "expert_count",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
}
_OWN_ROPE = {"gemma4", "qwen35", "qwen35moe", "lfm2", "gpt2", "bloom", "mamba", "falcon"}
# layers of the 27B models, whose queries are scaled by hidden size / heads
_LARGEST = {"gemma2": 46, "gemma3": 62}
_SIGMOID = 2  # gguf.ExpertGatingFuncType


def config_of(file: Path) -> Any:
    """The config of the model in `file`. Raises ModelError, or what transformers raises for what it cannot use."""
    header = gguf_header.metadata(file)
    architecture = str(header.get("general.architecture", ""))
    tensors = {tensor.name: tensor for _, tensor in gguf_reader.tensors(file)}

    def value(key: str) -> Any:
        return header.get(f"{architecture}.{key}")

    config = _begun(file, architecture, value, tensors)
    settings = config.to_dict()
    for name, key in _KEYS.items():
        if (
            name in settings
            and value(key) is not None
            and not (name == "head_dim" and _has_own_heads(architecture))
        ):
            settings[name] = value(key) or None
    if "vocab_size" in settings and "token_embd.weight" in tensors:  # some files have more rows than tokens
        settings["vocab_size"] = int(tensors["token_embd.weight"].shape[-1])
    settings |= _biases(settings, tensors)
    if architecture in _LARGEST:
        whole = settings["num_hidden_layers"] == _LARGEST[architecture]
        heads = settings["hidden_size"] // settings["num_attention_heads"]
        settings["query_pre_attn_scalar"] = heads if whole else settings["head_dim"]
    if architecture not in _OWN_ROPE and settings.get("rope_parameters"):
        settings |= _rope(architecture, value, tensors, settings)
    return type(config).from_dict(settings)


def _begun(file: Path, architecture: str, value: Any, tensors: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    if architecture == "deepseek2" or (architecture == "llama" and value("expert_count")):
        made = _deepseek(value, tensors) if architecture == "deepseek2" else {"model_type": "mixtral"}
        return AutoConfig.for_model(
            **_sizes(value) | made, tie_word_embeddings="output.weight" not in tensors, **_special(file),
        )  # fmt: skip
    with gguf_header.quick_reader():
        return AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)


def _sizes(value: Any) -> dict[str, Any]:
    named = {
        "max_position_embeddings": "context_length", "num_hidden_layers": "block_count",
        "intermediate_size": "feed_forward_length", "hidden_size": "embedding_length",
        "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    }  # fmt: skip
    return {name: value(key) for name, key in named.items() if value(key) is not None}


def _special(file: Path) -> dict[str, Any]:
    header = gguf_header.metadata(file)
    return {f"{kind}_token_id": header.get(f"tokenizer.ggml.{kind}_token_id") for kind in ("bos", "eos")}


def _deepseek(value: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """DeepSeek 2 and 3 (by how experts are chosen), whose attention keeps keys and values as one narrow vector."""
    rotary = value("rope.dimension_count")
    key = value("attention.key_length_mla") or value("attention.key_length")
    sigmoid = value("expert_gating_func") == _SIGMOID or any("exp_probs_b" in name for name in tensors)
    groups = value("expert_group_count")
    made = {
        "model_type": "deepseek_v3" if sigmoid else "deepseek_v2",
        "num_key_value_heads": value("attention.head_count"),  # the file says 1, as it is computed there
        "q_lora_rank": value("attention.q_lora_rank"),
        "kv_lora_rank": value("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotary,
        "qk_nope_head_dim": key - rotary,
        "v_head_dim": value("attention.value_length_mla") or value("attention.value_length"),
        "n_routed_experts": value("expert_count"),
        "n_shared_experts": value("expert_shared_count"),
        "first_k_dense_replace": value("leading_dense_block_count") or 0,
        "routed_scaling_factor": float(value("expert_weights_scale") or 1.0),
        "norm_topk_prob": bool(value("expert_weights_norm")),
        "n_group": groups or (1 if sigmoid else None),
        "topk_group": value("expert_group_used_count") or (1 if sigmoid else None),
    }
    if groups and not sigmoid:
        made["topk_method"] = "group_limited_greedy"
    return made


def _has_own_heads(architecture: str) -> bool:
    return architecture in ("deepseek2", "gemma4")


def _biases(settings: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, bool]:
    found = {"attention_bias": "blk.0.attn_q.bias" in tensors or "blk.0.attn_qkv.bias" in tensors,
             "mlp_bias": "blk.0.ffn_up.bias" in tensors}  # fmt: skip
    return {name: there for name, there in found.items() if name in settings}


def _rope(
    architecture: str, value: Any, tensors: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    factors = {
        name: tensors[f"{name}.weight"].data.astype("float32").ravel().tolist()
        for name in ("rope_freqs", "rope_factors_long", "rope_factors_short") if f"{name}.weight" in tensors
    }  # fmt: skip
    heads = settings.get("head_dim") or settings["hidden_size"] // settings["num_attention_heads"]
    rope = rope_parameters(value, factors, heads, settings["max_position_embeddings"])
    said = settings["rope_parameters"]
    if "full_attention" in said:
        local = {"rope_type": "default", "rope_theta": float(value("rope.freq_base_swa") or 10000.0)}
        return {"rope_parameters": {"full_attention": rope, "sliding_attention": local}}
    if architecture == "gpt-oss" and rope["rope_type"] == "yarn":
        rope["truncate"] = False
    more = {}
    if "original_max_position_embeddings" in settings:
        more["original_max_position_embeddings"] = rope.get(
            "original_max_position_embeddings", settings["max_position_embeddings"]
        )
    return {"rope_parameters": rope, **more}
