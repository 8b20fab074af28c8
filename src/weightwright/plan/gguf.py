"""The header of a GGUF file as a config, with the names that config.json uses."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weightwright.hub import gguf_reader

# what GGUF calls a family that transformers calls otherwise
_FAMILIES = {
    "gemma3": "gemma3_text", "phi2": "phi", "gptneox": "gpt_neox", "command-r": "cohere", "chatglm": "glm",
    "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "qwen3next": "qwen3_next", "qwen35": "qwen3_5_text",
    "qwen35moe": "qwen3_5_moe_text", "deepseek2": "deepseek_v3", "gpt-oss": "gpt_oss", "glm4moe": "glm4_moe",
    "minimax-m2": "minimax_m2", "granitemoe": "granitemoe", "ernie4_5-moe": "ernie4_5_moe",
    "hunyuan-dense": "hunyuan_v1_dense", "hunyuan-moe": "hunyuan_v1_moe", "mistral3": "ministral3",
}  # fmt: skip
_NAMES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
}
# keys of config.json that say the same, by family where families differ
_EXPERTS = {
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "moe_k", "moe_topk"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_shared_count": ("n_shared_experts", "moe_num_shared_experts"),
    "leading_dense_block_count": ("first_k_dense_replace", "moe_layer_start_index"),
    "interleave_moe_layer_step": ("moe_layer_interval",),
    "full_attention_interval": ("full_attention_interval",),
}
# kept in stacks of experts whose width is the only one
_EXPERT_WIDTH_ONLY = {"gpt_oss", "minimax_m2", "olmoe", "granitemoe", "mixtral", "phimoe", "hunyuan_v1_moe"}
_WITH_EXTRA_BLOCKS = {"glm4moe"}


def from_gguf(path: Path) -> dict[str, Any]:
    """A config from a GGUF file's header. Raises ModelError where the header cannot be read."""
    reader = gguf_reader.reader(path)
    field = reader.get_field("general.architecture")
    architecture = str(field.contents()) if field else ""
    shapes = {tensor.name: [int(size) for size in tensor.shape] for _, tensor in gguf_reader.tensors(path)}

    def value(key: str) -> Any:
        entry = reader.get_field(f"{architecture}.{key}")
        return entry.contents() if entry else None

    return to_config(architecture, value, shapes)


def to_config(
    architecture: str, value: Callable[[str], Any], shapes: Mapping[str, list[int]]
) -> dict[str, Any]:
    """The config of an architecture whose header holds `value(key)` and tensors of `shapes` (innermost first)."""
    family = _FAMILIES.get(architecture, architecture)
    if architecture == "llama" and value("expert_count"):
        family = "mixtral"
    config = {name: _whole(value(key)) for name, key in _NAMES.items()}
    for key, names in _EXPERTS.items():
        config |= dict.fromkeys(names, _whole(value(key)))
    if family in _EXPERT_WIDTH_ONLY and config["moe_intermediate_size"]:
        config["intermediate_size"] = config["moe_intermediate_size"]
    if config["num_hidden_layers"]:  # layers that predict further tokens stand among the blocks of some files
        extra = _whole(value("nextn_predict_layers")) or 0
        config["num_hidden_layers"] -= extra if architecture in _WITH_EXTRA_BLOCKS else 0
    if architecture == "deepseek2":
        config |= _latent(value)
    if value("ssm.state_size"):
        config |= _delta_net(value)
    if architecture == "gpt2":
        short = {"n_embd": "hidden_size", "n_inner": "intermediate_size", "n_layer": "num_hidden_layers"}
        short |= {"n_head": "num_attention_heads", "n_positions": "max_position_embeddings"}
        config = {name: config[long] for name, long in short.items()}
    biased = any(name in shapes for name in ("blk.0.attn_q.bias", "blk.0.attn_qkv.bias"))
    return {key: setting for key, setting in config.items() if setting is not None} | {
        "model_type": family,
        "vocab_size": shapes["token_embd.weight"][-1] if "token_embd.weight" in shapes else None,
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": biased,
        "use_qk_norm": any(
            name.startswith("blk.") and name.endswith(".attn_q_norm.weight") for name in shapes
        ),
    }


def _latent(value: Callable[[str], Any]) -> dict[str, Any]:
    """DeepSeek's widths; newer files keep those of the expanded heads apart, under names of their own."""
    rotary = _whole(value("rope.dimension_count")) or 64
    key = _whole(value("attention.key_length_mla")) or _whole(value("attention.key_length"))
    return {
        "q_lora_rank": _whole(value("attention.q_lora_rank")),
        "kv_lora_rank": _whole(value("attention.kv_lora_rank")),
        "qk_rope_head_dim": rotary,
        "qk_nope_head_dim": key - rotary if key else None,
        "v_head_dim": _whole(value("attention.value_length_mla")) or _whole(value("attention.value_length")),
    }


def _delta_net(value: Callable[[str], Any]) -> dict[str, Any]:
    """The widths of linear attention, which GGUF keeps under the names of state space models."""
    heads, inner = _whole(value("ssm.time_step_rank")), _whole(value("ssm.inner_size"))
    return {
        "linear_conv_kernel_dim": _whole(value("ssm.conv_kernel")),
        "linear_key_head_dim": _whole(value("ssm.state_size")),
        "linear_num_key_heads": _whole(value("ssm.group_count")),
        "linear_num_value_heads": heads,
        "linear_value_head_dim": inner // heads if inner and heads else None,
    }


def _whole(number: Any) -> int | None:
    """A number, the largest where layers differ."""
    if isinstance(number, list):
        return max((int(one) for one in number), default=None)
    return None if number is None else int(number)
