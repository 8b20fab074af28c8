"""The shape of a model, from its config.json or a GGUF header: all that counting and planning need.

A family is a few facts about its layers (which are biased, normed, fused); sizes come from the config.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix [outputs, inputs], with a bias or without."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the matrix and its bias."""
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense decoder: `linears` and `norm_weights` are those of one layer, repeated `layers` times."""

    family: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    context: int
    linears: tuple[Linear, ...]
    norm_weights: int
    embedding_weights: int  # tokens, and learned positions where there are any
    final_norm_weights: int
    head: Linear
    tied: bool  # the head is the embedding


@dataclass(frozen=True, slots=True)
class Family:
    """What distinguishes a family's layers; `tied` is its default where the config is silent."""

    tied: bool = False
    qkv_bias: bool | None = False  # None: as `attention_bias` says
    out_bias: bool | None = False
    norms: int = 2  # of the hidden size, in each layer
    qk_norm: bool = False  # a norm of the head's width on queries and on keys
    fused: bool = False  # q, k, v in one matrix, gate and up in another
    head_width: int | None = None  # default where the config is silent; None: hidden / heads


FAMILIES: dict[str, Family] = {
    "llama": Family(qkv_bias=None, out_bias=None),
    "smollm3": Family(tied=True, qkv_bias=None, out_bias=None),
    "mistral": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(qkv_bias=None, out_bias=None, qk_norm=True, head_width=128),
    "gemma": Family(tied=True, qkv_bias=None, out_bias=None, head_width=256),
    "gemma2": Family(tied=True, qkv_bias=None, out_bias=None, norms=4, head_width=256),
    "gemma3_text": Family(tied=True, qkv_bias=None, out_bias=None, norms=4, qk_norm=True, head_width=256),
    "phi3": Family(fused=True),
    "gpt2": Family(tied=True),
}
_GGUF_FAMILIES = {"gemma3": "gemma3_text"}  # where GGUF's name differs from transformers'


def from_config(config: Mapping[str, Any]) -> ModelSpec:
    """The spec of a config.json's content or of a transformers config's `to_dict()`.

    Raises ModelError for a family that is not known, naming those that are, and for a missing size.
    """
    name = str(config.get("model_type", ""))
    if name not in FAMILIES:
        raise ModelError(f"cannot plan for the family {name!r}; known: {', '.join(sorted(FAMILIES))}")
    return _gpt2(config) if name == "gpt2" else _llama_like(name, FAMILIES[name], config)


def from_file(path: Path) -> ModelSpec:
    """The spec of a model's folder, config.json or GGUF file. Raises ModelError."""
    if path.suffix == ".gguf":
        return from_config(from_gguf(path))
    file = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model's shape from {file}: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object, found {type(values).__name__}")
    return from_config(values)


def from_gguf(path: Path) -> dict[str, Any]:
    """A config dict from a GGUF file's header, with the names that config.json uses. Raises ModelError."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ModelError(f"cannot read the header of {path}: {error}") from error
    field = reader.get_field("general.architecture")
    architecture = str(field.contents()) if field else ""
    shapes = {tensor.name: [int(size) for size in tensor.shape] for tensor in reader.tensors}

    def value(key: str) -> Any:
        found = reader.get_field(f"{architecture}.{key}")
        return found.contents() if found else None

    biased = "blk.0.attn_q.bias" in shapes
    names = {
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "max_position_embeddings": "context_length",
    }
    config = {name: value(key) for name, key in names.items()}
    if architecture == "gpt2":
        short = {"n_embd": "hidden_size", "n_inner": "intermediate_size", "n_layer": "num_hidden_layers"}
        short |= {"n_head": "num_attention_heads", "n_positions": "max_position_embeddings"}
        config = {name: config[long] for name, long in short.items()}
    return {
        **config,
        "model_type": _GGUF_FAMILIES.get(architecture, architecture),
        "vocab_size": shapes["token_embd.weight"][-1] if "token_embd.weight" in shapes else None,
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": biased,
    }


def _llama_like(name: str, family: Family, config: Mapping[str, Any]) -> ModelSpec:
    hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    width = config.get("head_dim") or family.head_width or hidden // heads
    kv_heads = config.get("num_key_value_heads") or heads
    inner, vocabulary = _size(config, "intermediate_size"), _size(config, "vocab_size")
    attention_bias, mlp_bias = bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    qkv_bias = attention_bias if family.qkv_bias is None else family.qkv_bias
    out_bias = attention_bias if family.out_bias is None else family.out_bias
    queries, keys = heads * width, kv_heads * width
    linears: tuple[Linear, ...]
    if family.fused:
        linears = (
            Linear("qkv_proj", hidden, queries + 2 * keys),
            Linear("o_proj", queries, hidden),
            Linear("gate_up_proj", hidden, 2 * inner),
            Linear("down_proj", inner, hidden),
        )
    else:
        linears = (
            Linear("q_proj", hidden, queries, qkv_bias),
            Linear("k_proj", hidden, keys, qkv_bias),
            Linear("v_proj", hidden, keys, qkv_bias),
            Linear("o_proj", queries, hidden, out_bias),
            Linear("gate_proj", hidden, inner, mlp_bias),
            Linear("up_proj", hidden, inner, mlp_bias),
            Linear("down_proj", inner, hidden, mlp_bias),
        )
    tied = config.get("tie_word_embeddings")
    return ModelSpec(
        family=name,
        vocabulary=vocabulary,
        hidden=hidden,
        intermediate=inner,
        layers=_size(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_width=width,
        context=int(config.get("max_position_embeddings") or 0),
        linears=linears,
        norm_weights=family.norms * hidden + (2 * width if family.qk_norm else 0),
        embedding_weights=vocabulary * hidden,
        final_norm_weights=hidden,
        head=Linear("lm_head", hidden, vocabulary),
        tied=family.tied if tied is None else bool(tied),
    )


def _gpt2(config: Mapping[str, Any]) -> ModelSpec:
    hidden, heads = _size(config, "n_embd"), _size(config, "n_head")
    inner, vocabulary = config.get("n_inner") or 4 * hidden, _size(config, "vocab_size")
    positions = _size(config, "n_positions")
    return ModelSpec(
        family="gpt2",
        vocabulary=vocabulary,
        hidden=hidden,
        intermediate=inner,
        layers=_size(config, "n_layer"),
        heads=heads,
        kv_heads=heads,
        head_width=hidden // heads,
        context=positions,
        linears=(
            Linear("c_attn", hidden, 3 * hidden, bias=True),
            Linear("c_proj", hidden, hidden, bias=True),
            Linear("c_fc", hidden, inner, bias=True),
            Linear("c_proj", inner, hidden, bias=True),
        ),
        norm_weights=4 * hidden,
        embedding_weights=(vocabulary + positions) * hidden,
        final_norm_weights=2 * hidden,
        head=Linear("lm_head", hidden, vocabulary),
        tied=config.get("tie_word_embeddings") is not False,
    )


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value <= 0:
        raise ModelError(f"the model's config must hold {name} as a positive whole number, found {value!r}")
    return value
