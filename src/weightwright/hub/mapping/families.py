"""Families whose code comes with the model, as layers that transformers has: their configs and tensors in its terms.

Facts are those of the published code: modeling_baichuan.py, modeling_qwen.py, modeling_chatglm.py and their like.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Config = Mapping[str, Any]
_ELSEWHERE = ("serve it with an engine that has it (vLLM, or llama.cpp with a GGUF file of it) and use its http:// "
              "address")  # fmt: skip
_SAID = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps",
    "rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype",
    "quantization_config",
)  # fmt: skip
# what the code computes and old checkpoints hold all the same
_COMPUTED = re.compile(r"rotary_emb\.|rotary_pos_emb\.|\.attn\.(masked_bias|bias)$|logn_tensor$")
_ROWS = 8192  # of a head that are normalised at once


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's config and tensors are called, and made, in transformers' terms."""

    target: str  # transformers' model_type
    architecture: str
    config: Callable[[Config], dict[str, Any]]  # raises ModelError where layers differ
    names: tuple[tuple[str, str], ...] = ()  # parts of tensors' names and what they become, in this order
    grouped: bool = False  # queries, keys and values stand together for each head of keys


def family_of(config: Config) -> Family | None:
    """The family of a config.json's content, where it is one that is mapped."""
    return FAMILIES.get(str(config.get("model_type", "")))


def mapped_config(config: Config) -> dict[str, Any]:
    """A config.json's content in transformers' terms; itself where its family is not mapped.

    Raises ModelError with the reason and a remedy where its layers are none of transformers'.
    """
    kind = str(config.get("model_type", ""))
    family = family_of(config)
    if family is None:
        if kind in _UNMAPPED:
            raise _refusal(config, _UNMAPPED[kind])
        return dict(config)
    if config.get("quantization_config"):
        raise _refusal(
            config, "its weights are quantised under names of their own; take the unquantised model"
        )
    try:
        values = family.config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise _refusal(config, f"its config.json does not say what {kind} models say ({error!r})") from error
    if values.get("hidden_act", "silu") != "silu":
        raise _refusal(config, f"its activation is {values['hidden_act']}")
    return {"model_type": family.target, "architectures": [family.architecture], **values}


def is_refused(config: Config) -> bool:
    """Whether `mapped_config` refuses it."""
    try:
        mapped_config(config)
    except ModelError:
        return True
    return False


def limit_note(config: Config) -> str:
    """What a user should know of the context; "" where there is nothing."""
    if config.get("model_type") == "qwen" and _changes_beyond(config):
        return (f"reads texts of more than {config['seq_length']:,} tokens with another rotary embedding and another "
                "scale (dynamic NTK, logn attention); here the context ends there")  # fmt: skip
    return ""


def mapped_tensors(
    name: str, tensor: "Tensor", family: Family, target: Config, *, unit_head: bool = False
) -> "dict[str, Tensor]":
    """What a tensor becomes, by name; nothing where it is computed anyway. Meta tensors become meta tensors.

    With `unit_head` the rows of the head have length 1 (Baichuan 2's NormHead).
    """
    if _COMPUTED.search(name):
        return {}
    for old, new in family.names:
        name = name.replace(old, new)
    if ".qkv_proj." in name:
        parts = _parted(tensor, target, grouped=family.grouped)
        return {
            name.replace(".qkv_proj.", f".{part}_proj."): one for part, one in zip("qkv", parts, strict=True)
        }
    if unit_head and name == "lm_head.weight" and not tensor.is_meta:
        return {name: _unit_rows(tensor)}
    return {name: tensor}


def _parted(tensor: "Tensor", target: Config, *, grouped: bool) -> "tuple[Tensor, ...]":
    """Queries, keys and values of a tensor [(heads + 2 kv_heads) · head_dim, …]."""
    heads = int(target["num_attention_heads"])
    kv_heads = int(target.get("num_key_value_heads") or heads)
    width = int(target.get("head_dim") or target["hidden_size"] // heads)
    if not grouped:
        return tuple(tensor.split([heads * width, kv_heads * width, kv_heads * width]))
    rest = tensor.shape[1:]
    together = tensor.view(kv_heads, heads // kv_heads + 2, width, *rest)
    parts = together.split([heads // kv_heads, 1, 1], dim=1)
    return tuple(part.reshape(-1, *rest) for part in parts)


def _unit_rows(tensor: "Tensor") -> "Tensor":
    """Rows of length 1, computed in f32: half precision overflows in the squares."""
    import torch

    out = torch.empty_like(tensor)
    for start in range(0, len(tensor), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = torch.nn.functional.normalize(tensor[rows].float(), dim=-1).to(tensor.dtype)
    return out


def _refusal(config: Config, why: str) -> ModelError:
    names = config.get("architectures") or [config.get("model_type")]
    return ModelError(
        f"{names[0]} brings its own code, and is not mapped onto layers that are here: {why}; {_ELSEWHERE}"
    )


# -- each family's config ---------------------------------------------------------------------------


def _said(config: Config, **more: Any) -> dict[str, Any]:
    """What a config in Llama's words says, and what the family's code means beyond it."""
    said = {name: config[name] for name in _SAID if config.get(name) is not None}
    meant = {
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
        "num_key_value_heads": config.get("num_attention_heads"),
    }  # fmt: skip
    return meant | said | more


def _llama(config: Config) -> dict[str, Any]:
    return _said(config)


def _with_biases(config: Config) -> dict[str, Any]:
    """Biases in all four projections of attention where the config says so; InternLM has them by default."""
    default = config["model_type"] == "internlm"
    return _said(config, attention_bias=bool(config.get("bias", default)))


def _baichuan(config: Config) -> dict[str, Any]:
    """7B rotates its keys; 13B, whose config says no max_position_embeddings, has ALiBi's biases instead."""
    rotary = (
        "max_position_embeddings" in config
        or (config.get("architectures") or [""])[0] == "BaiChuanForCausalLM"
    )
    if not rotary:
        raise _refusal(config, "it biases attention by distance (ALiBi), in layers with RMSNorm and a gate, which no "
                       "family of transformers has")  # fmt: skip
    context = config.get("max_position_embeddings") or config.get("model_max_length") or 4096
    return _said(config, max_position_embeddings=context)


def _changes_beyond(config: Config) -> bool:
    return bool(config.get("use_dynamic_ntk") or config.get("use_logn_attn"))


def _qwen(config: Config) -> dict[str, Any]:
    """Qwen 1, also with the first release's keys; the width of its MLP is half of what the config says."""

    def one(*names: str) -> Any:
        return next(config[name] for name in names if name in config)

    hidden, heads = one("hidden_size", "n_embd"), one("num_attention_heads", "n_head")
    if config.get("rotary_pct", 1.0) != 1.0 or not config.get("no_bias", True):
        raise _refusal(config, "it rotates a part of each head, or has biases in all layers")
    if config.get("kv_channels", hidden // heads) * heads != hidden:
        raise _refusal(config, f"its heads of {config['kv_channels']} are not {hidden} together")
    longest = one("max_position_embeddings", "n_positions", "seq_length")
    return _said(
        {name: config[name] for name in ("bos_token_id", "eos_token_id", "initializer_range") if name in config},
        vocab_size=config.get("padded_vocab_size") or config["vocab_size"], hidden_size=hidden,
        intermediate_size=one("intermediate_size", "ffn_hidden_size") // 2,
        num_hidden_layers=one("num_hidden_layers", "n_layer"), num_attention_heads=heads, num_key_value_heads=heads,
        hidden_act="silu", rms_norm_eps=config.get("layer_norm_epsilon", 1e-6), use_sliding_window=False,
        max_position_embeddings=config["seq_length"] if _changes_beyond(config) else longest,
        rope_theta=float(config.get("rotary_emb_base", 10000)),
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
    )  # fmt: skip


def _orion(config: Config) -> dict[str, Any]:
    """Llama with LayerNorm: StableLM's layers, all of each head rotated."""
    return _said(config, layer_norm_eps=config["rms_norm_eps"], partial_rotary_factor=1.0, use_qkv_bias=False,
                 use_parallel_residual=False)  # fmt: skip


def _minicpm(config: Config) -> dict[str, Any]:
    """Llama with scaled embeddings, residuals and logits: Granite's layers."""
    if config.get("num_experts") or config.get("sparse_config"):
        raise _refusal(config, "it is a mixture of experts, or attends sparsely")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    return _said(
        config, tie_word_embeddings=bool(config.get("tie_word_embeddings", True)),
        embedding_multiplier=float(config.get("scale_emb", 1)),
        residual_multiplier=config.get("scale_depth", 1) / math.sqrt(config["num_hidden_layers"]),
        logits_scaling=hidden / config.get("dim_model_base", hidden), attention_multiplier=(hidden // heads) ** -0.5,
    )  # fmt: skip


def _chatglm(config: Config) -> dict[str, Any]:
    """ChatGLM 2 and 3 and GLM-4; the first ChatGLM attends to its prompt in both directions."""
    if not config.get("multi_query_attention"):
        raise _refusal(
            config, "it attends to its prompt in both directions; take chatglm3-6b or glm-4-9b-chat-hf"
        )
    usual = {"rmsnorm": True, "post_layer_norm": True, "add_bias_linear": False, "original_rope": True,
             "apply_residual_connection_post_layernorm": False, "pre_seq_len": None}  # fmt: skip
    other = [name for name, value in usual.items() if config.get(name, value) != value]
    ratio = config.get("rope_ratio", 1)
    glm4 = config["padded_vocab_size"] > 100_000  # its rope_ratio scales the base
    if other or (ratio != 1 and not glm4):
        raise _refusal(config, f"its {', '.join(other) or 'rope_ratio'} is not the usual one")
    return _said(
        {name: config[name] for name in ("hidden_size", "num_attention_heads", "eos_token_id", "pad_token_id",
         "torch_dtype") if config.get(name) is not None},
        vocab_size=config["padded_vocab_size"], intermediate_size=config["ffn_hidden_size"],
        num_hidden_layers=config["num_layers"], num_key_value_heads=config["multi_query_group_num"],
        head_dim=config["kv_channels"], max_position_embeddings=config["seq_length"],
        rms_norm_eps=config["layernorm_epsilon"], attention_bias=bool(config.get("add_qkv_bias")),
        partial_rotary_factor=0.5, rope_theta=10000.0 * ratio,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
    )  # fmt: skip


_YI = Family("llama", "LlamaForCausalLM", _llama,
             ((".ln1.", ".input_layernorm."), (".ln2.", ".post_attention_layernorm.")))  # fmt: skip
FAMILIES: dict[str, Family] = {
    "Yi": _YI,
    "aquila": Family("llama", "LlamaForCausalLM", _llama),
    "baichuan": Family("llama", "LlamaForCausalLM", _baichuan, (("W_pack", "qkv_proj"),)),
    "chatglm": Family("glm", "GlmForCausalLM", _chatglm, (
        ("transformer.embedding.word_embeddings.", "model.embed_tokens."),
        ("transformer.encoder.final_layernorm.", "model.norm."),
        ("transformer.output_layer.", "lm_head."), ("transformer.encoder.layers.", "model.layers."),
        (".self_attention.query_key_value.", ".self_attn.qkv_proj."),
        (".self_attention.dense.", ".self_attn.o_proj."),
        (".mlp.dense_h_to_4h.", ".mlp.gate_up_proj."), (".mlp.dense_4h_to_h.", ".mlp.down_proj."),
    )),
    "internlm": Family("llama", "LlamaForCausalLM", _with_biases),
    "internlm2": Family("llama", "LlamaForCausalLM", _with_biases, (
        ("model.tok_embeddings.", "model.embed_tokens."), ("output.weight", "lm_head.weight"),
        (".attention.wqkv.", ".self_attn.qkv_proj."), (".attention.wo.", ".self_attn.o_proj."),
        (".attention_norm.", ".input_layernorm."), (".ffn_norm.", ".post_attention_layernorm."),
        (".feed_forward.w1.", ".mlp.gate_proj."), (".feed_forward.w3.", ".mlp.up_proj."),
        (".feed_forward.w2.", ".mlp.down_proj."),
    ), grouped=True),
    "minicpm": Family("granite", "GraniteForCausalLM", _minicpm),
    "orion": Family("stablelm", "StableLmForCausalLM", _orion),
    "qwen": Family("qwen2", "Qwen2ForCausalLM", _qwen, (
        ("transformer.h.", "model.layers."), ("transformer.wte.", "model.embed_tokens."),
        ("transformer.ln_f.", "model.norm."), (".attn.c_attn.", ".self_attn.qkv_proj."),
        (".attn.c_proj.", ".self_attn.o_proj."), (".ln_1.", ".input_layernorm."),
        (".ln_2.", ".post_attention_layernorm."), (".mlp.w1.", ".mlp.up_proj."), (".mlp.w2.", ".mlp.gate_proj."),
        (".mlp.c_proj.", ".mlp.down_proj."),
    )),
    "xverse": Family("llama", "LlamaForCausalLM", _with_biases),
    "yi": _YI,
}  # fmt: skip
_UNMAPPED = {
    "deepseek": "a mixture of experts of DeepSeek's first form (deepseek_v2 and later are known)",
    "skywork": "nobody here has held its layers to its code",
    "telechat": "some of its matrices have biases whose like in Llama have none",
    "telechat2": "some of its matrices have biases whose like in Llama have none",
}
