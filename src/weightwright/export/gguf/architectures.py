"""The architectures that can be written as GGUF: what llama.cpp is told of a model, and how it lays out weights.

Each was compared with llama.cpp on tiny seeded models. What llama.cpp would compute otherwise than transformers is
refused with the setting's name, never written on trust.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.errors import ModelError
from weightwright.weights.gguf_rope import llama3_divisors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_ROPE_DONE = {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings",
              "partial_rotary_factor", "attention_factor"}  # fmt: skip
_LONG_DONE = _ROPE_DONE | {"long_factor", "short_factor"}
_LONG_FAMILIES = ("llama", "phi3")  # for which llama.cpp reads the factors
_YARN_USUAL = {"beta_fast": 32, "beta_slow": 1, "truncate": True}
_GEMMA3_PERIOD = 6  # every sixth layer sees all tokens


@dataclass(frozen=True, slots=True)
class Family:
    """How one of transformers' model types is written: `name` is GGUF's.

    llama.cpp rotates neighbouring pairs in `llama`, so that rows of queries and keys change place (`paired`), and
    takes Gemma's norms with their one added (`norm_offset`).
    """

    name: str
    paired: bool = False
    norm_offset: float = 0.0
    activation: tuple[str, ...] = ("silu",)
    experts: str = ""  # of a mixture: the config's word for their number
    check: Callable[[Any], None] = lambda _: None


def _no_bias(config: Any) -> None:
    for name in ("attention_bias", "mlp_bias"):
        if getattr(config, name, False):
            raise _refused(config, f"{name}=true")


def _qwen2_moe(config: Any) -> None:
    _all_mixtures(config)
    if config.norm_topk_prob:
        raise _refused(config, "norm_topk_prob=true")


def _qwen3_moe(config: Any) -> None:
    _no_bias(config)
    _all_mixtures(config)
    if not config.norm_topk_prob:
        raise _refused(config, "norm_topk_prob=false")


def _all_mixtures(config: Any) -> None:
    if config.mlp_only_layers or config.decoder_sparse_step != 1:
        raise _refused(config, "dense layers among its mixtures")


def _gemma(config: Any) -> None:
    if config.query_pre_attn_scalar != config.head_dim:
        raise _refused(config, f"query_pre_attn_scalar={config.query_pre_attn_scalar} beside "
                       f"head_dim={config.head_dim}")  # fmt: skip
    if config.attention_bias:
        raise _refused(config, "attention_bias=true")


def _gemma2(config: Any) -> None:
    _gemma(config)
    _layers(config, 2)


def _gemma3(config: Any) -> None:
    _gemma(config)
    _layers(config, _GEMMA3_PERIOD)
    local = (config.rope_parameters or {}).get("sliding_attention", {})
    if local.get("rope_theta", 10000.0) != 10000.0 or local.get("rope_type", "default") != "default":
        raise _refused(config, f"rope parameters {local} of the local layers")
    for name in ("final_logit_softcapping", "attn_logit_softcapping"):
        if getattr(config, name, None):
            raise _refused(config, f"{name}={getattr(config, name)}")


def _layers(config: Any, period: int) -> None:
    expected = ["full_attention" if (i + 1) % period == 0 else "sliding_attention"
                for i in range(config.num_hidden_layers)]  # fmt: skip
    if list(config.layer_types) != expected:
        raise _refused(config, f"layer_types other than full attention in every layer {period}")


_TANH = ("gelu_pytorch_tanh", "gelu_new")
FAMILIES: dict[str, Family] = {
    "llama": Family("llama", paired=True, check=_no_bias),
    "mistral": Family("llama", paired=True, check=_no_bias),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3", check=_no_bias),
    "mixtral": Family("llama", paired=True, experts="num_local_experts"),
    "qwen2_moe": Family("qwen2moe", experts="num_experts", check=_qwen2_moe),
    "qwen3_moe": Family("qwen3moe", experts="num_experts", check=_qwen3_moe),
    "phi3": Family("phi3"),
    "gemma2": Family("gemma2", norm_offset=1.0, activation=_TANH, check=_gemma2),
    "gemma3_text": Family("gemma3", norm_offset=1.0, activation=_TANH, check=_gemma3),
}


def family_of(config: Any) -> Family:
    """The family of a transformers config. Raises ModelError naming what cannot be written."""
    kind = str(config.model_type)
    if kind not in FAMILIES:
        raise ModelError(f"GGUF files of the architecture {kind} are not written here; known are "
                         f"{', '.join(FAMILIES)}; write --format safetensors, which llama.cpp's "
                         "own converter reads")  # fmt: skip
    family = FAMILIES[kind]
    family.check(config)
    activation = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    named = getattr(config, "hidden_activation", None) or activation
    if named not in family.activation:
        raise _refused(config, f"the activation {named}")
    _rope_kind(config)
    return family


def differences(config: Any) -> list[str]:
    """What llama.cpp does otherwise than the model, for the user."""
    lines = []
    window = getattr(config, "sliding_window", None)
    sliding = getattr(config, "use_sliding_window", True)
    whole = FAMILIES[config.model_type].name in ("llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe", "phi3")
    if whole and window and sliding and window < config.max_position_embeddings:
        lines.append(f"the model attends to the last {window:,} tokens, llama.cpp to all; beyond that length "
                         "answers differ")  # fmt: skip
    if _rope_kind(config) == "longrope":
        lines.append(f"beyond {_original(config):,} tokens the model takes other rotary factors; llama.cpp takes "
                     "them for short texts, too, when its context is longer than that (-c)")  # fmt: skip
    return lines


def add_settings(writer: Any, config: Any, rows: int) -> None:
    """Tell llama.cpp the model's shape. `writer` is a gguf.GGUFWriter, `rows` the embeddings there are."""
    head = head_width(config)
    writer.add_vocab_size(rows)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    _add_experts(writer, config)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_rope(writer, config)
    family = FAMILIES[config.model_type].name
    if family in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(getattr(config, "sliding_window", None) or 0)
    if family == "gemma2":
        for name, add in (("attn_logit_softcapping", writer.add_attn_logit_softcapping),
                          ("final_logit_softcapping", writer.add_final_logit_softcapping)):  # fmt: skip
            if getattr(config, name):
                add(getattr(config, name))


def _add_experts(writer: Any, config: Any) -> None:
    family = FAMILIES[config.model_type]
    if not family.experts:
        return
    writer.add_expert_count(getattr(config, family.experts))
    writer.add_expert_used_count(config.num_experts_per_tok)
    if hasattr(config, "moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if hasattr(config, "shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)


def head_width(config: Any) -> int:
    """The width of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def rope_factors(config: Any) -> "dict[str, Array]":
    """Tensors, by name, that divide the rotary frequencies, [rotary width / 2]: Llama 3.1's and longrope's."""
    import numpy as np

    rope, kind = _rope(config), _rope_kind(config)
    if kind == "llama3":
        divisors = llama3_divisors(rope, rope["rope_theta"], _rotary_width(config))
        return {"rope_freqs.weight": np.array(divisors, np.float32)}
    if kind == "longrope":
        return {f"rope_factors_{which}.weight": np.array(rope[f"{which}_factor"], np.float32)
                for which in ("long", "short")}  # fmt: skip
    return {}


def laid_out(family: Family, config: Any, name: str, weight: "Array") -> "Array":
    """A weight, f32, as llama.cpp wants it; `name` is GGUF's. An adapter's B has rows as its matrix has."""
    if family.norm_offset and name.endswith("norm.weight"):
        return weight + family.norm_offset
    if family.paired and (".attn_q." in name or ".attn_k." in name) and not name.endswith(".lora_a"):
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        return halves.swapaxes(1, 2).reshape(weight.shape)
    return weight


def _rope(config: Any) -> dict[str, Any]:
    rope = dict(getattr(config, "rope_parameters", None) or {})
    return dict(rope["full_attention"]) if "full_attention" in rope else rope


def _rope_kind(config: Any) -> str:
    """One of "default", "linear", "yarn", "llama3" and "longrope". Raises ModelError for other kinds of scaling."""
    rope = _rope(config)
    kind = str(rope.get("rope_type", rope.get("type", "default")))
    family = FAMILIES[config.model_type].name
    if kind == "llama3" and family == "llama":  # other architectures of llama.cpp take no such tensor
        return kind
    done = _LONG_DONE if kind == "longrope" else _ROPE_DONE
    unusual = {key: value for key, value in rope.items()
               if key not in done and value is not None and _YARN_USUAL.get(key) != value}  # fmt: skip
    known: tuple[str, ...] = ("default", "linear", "yarn")
    if family in _LONG_FAMILIES:
        known = (*known, "longrope")
    if kind not in known or unusual:
        raise _refused(config, f"rope scaling {kind}" + (f" with {unusual}" if unusual else ""))
    return kind


def _original(config: Any) -> int:
    return int(_rope(config).get("original_max_position_embeddings") or config.max_position_embeddings)


def _rotary_width(config: Any) -> int:
    return int(head_width(config) * (_rope(config).get("partial_rotary_factor") or 1.0))


def _add_rope(writer: Any, config: Any) -> None:
    from gguf import RopeScalingType

    rope, kind = _rope(config), _rope_kind(config)
    writer.add_rope_dimension_count(_rotary_width(config))
    writer.add_rope_freq_base(float(rope.get("rope_theta") or 10000.0))
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(kind))
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if kind in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(_original(config))
    if kind == "yarn" and rope.get("attention_factor"):  # llama.cpp multiplies it by yarn's own
        writer.add_rope_scaling_attn_factors(rope["attention_factor"] / (0.1 * math.log(rope["factor"]) + 1))
    if kind == "longrope":
        import torch
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        writer.add_rope_scaling_type(RopeScalingType.LONGROPE)
        writer.add_rope_scaling_attn_factors(ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))[1])


def _refused(config: Any, what: str) -> ModelError:
    return ModelError(f"a model of the architecture {config.model_type} with {what} cannot be written as GGUF: "
                      "llama.cpp would compute something else; write --format safetensors")  # fmt: skip
