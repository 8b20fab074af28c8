"""The shape of a model, from its config.json or a GGUF header: all that counting and planning need."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.hub.mapping.families import is_refused, mapped_config
from weightwright.plan.build import Shape, layers_of
from weightwright.plan.built import built
from weightwright.plan.families import FAMILIES, WRAPPED
from weightwright.plan.gguf import from_gguf
from weightwright.plan.parts import Experts, Layer, Linear

__all__ = ["FAMILIES", "Experts", "Layer", "Linear", "ModelSpec", "from_config", "from_file", "from_gguf",
           "out_of_reach"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder: `kinds` are its layers, those that are alike together; `outer` are matrices around them."""

    family: str
    vocabulary: int
    hidden: int
    heads: int
    kinds: tuple[Layer, ...]
    context: int  # tokens; 0 where the config does not say
    embedding_weights: int  # tokens, and learned positions where there are any
    final_norm_weights: int  # and all else that stands outside the layers, such as what a model sees with
    head: Linear
    tied: bool  # the head is the embedding
    outer: tuple[Linear, ...] = ()
    taken: tuple[str, ...] = ()  # linear layers that no adapter reaches, see `out_of_reach`

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return sum(layer.count for layer in self.kinds)

    @property
    def linear_weights(self) -> int:
        """Numbers in the linear layers of all layers, without the head."""
        return sum(layer.count * layer.linear_weights for layer in self.kinds)

    @property
    def expert_weights(self) -> int:
        """Numbers in the experts of all layers."""
        return sum(layer.count * layer.experts.total_weights for layer in self.kinds if layer.experts)

    @property
    def largest_linear(self) -> int:
        """Numbers in the largest linear layer, the head aside."""
        return max(linear.weights for layer in self.kinds for linear in layer.linears)


def from_config(config: Mapping[str, Any]) -> ModelSpec:
    """The spec of a config.json's content or of a transformers config's `to_dict()`.

    Raises ModelError for a family that neither we nor transformers know, and for a missing size.
    """
    if not is_refused(config):
        config = mapped_config(config)
    name = str(config.get("model_type", ""))
    if name in WRAPPED and isinstance(config.get("text_config"), Mapping):
        tied = {"tie_word_embeddings": config.get("tie_word_embeddings")}
        name, config = WRAPPED[name], {**tied, **config["text_config"]}
    if not name:
        raise ModelError(
            f"the model's config names no family (model_type); known: {', '.join(sorted(FAMILIES))}"
        )
    if name not in FAMILIES:
        return ModelSpec(family=name, **built(config), taken=out_of_reach(_text_type(config)))
    family = FAMILIES[name]
    shape = Shape(family, _with_defaults(family.defaults, config))
    hidden, vocabulary = shape.hidden, shape.size("vocab_size")
    width = int(shape.config.get("word_embed_proj_dim") or hidden)
    outer = (
        () if width == hidden else (Linear("project_in", width, hidden), Linear("project_out", hidden, width))
    )
    positions = 0 if family.positions is None else shape.size("max_position_embeddings") + family.positions
    bare_end = shape.config.get("do_layer_norm_before") is False or shape.config.get(
        "_remove_final_layer_norm"
    )
    return ModelSpec(
        family=name,
        vocabulary=vocabulary,
        hidden=hidden,
        heads=shape.heads,
        kinds=layers_of(shape),
        context=int(shape.optional("max_position_embeddings") or 0),
        embedding_weights=vocabulary * width + positions * hidden,
        final_norm_weights=0 if bare_end else shape.norm,
        head=Linear(shape.name("lm_head"), width, vocabulary, shape.biased(family.head_bias)),
        tied=bool(shape.config.get("tie_word_embeddings")),
        outer=outer,
        taken=out_of_reach(name),
    )


_EXPERTS = ("gate", "gate_proj", "up_proj", "down_proj")  # of mixtures that are not among ours
_MIXTURES = {
    "afmoe", "beam", "cohere2_moe", "deepseek_v32", "exaone_moe", "flex_olmo", "glm4v_moe", "glm_moe_dsa",
    "longcat_flash", "mellum", "qwen3_omni_moe", "qwen3_omni_moe_text", "qwen3_omni_moe_thinker", "sarvam_mla",
    "solar_open",
}  # fmt: skip
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "mamba": ("dt_proj", "out_proj"), "falcon_mamba": ("dt_proj", "out_proj"), "mamba2": ("out_proj",),
    "falcon_h1": ("out_proj",), "nemotron_h": ("out_proj",), "jamba": ("dt_proj",),
    "phimoe": ("router",), "llama4": ("router",), "llama4_text": ("router",),
}  # fmt: skip


def _text_type(config: Mapping[str, Any]) -> str:
    """The family of a model's language part."""
    part = config.get("text_config")
    return str((part if isinstance(part, Mapping) else {}).get("model_type") or config["model_type"])


def out_of_reach(family: str) -> tuple[str, ...]:
    """Names of a family's linear layers that no adapter reaches.

    transformers 5 stacks a mixture's experts; peft then reads the old names of their matrices as the stacks, also
    where a dense layer or a shared expert has linear layers of the same names. Code of state-space layers reads some
    weights itself, past any adapter, and peft refuses those; some routers return more than a product.
    """
    mixture = FAMILIES[family].mixture if family in FAMILIES else None
    experts = mixture.taken if mixture else _EXPERTS if family in _MIXTURES else ()
    return (*experts, *_OTHERS.get(family, ()))


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


def _with_defaults(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The config over what the family means where it is silent; a null means something for a few keys only."""
    said = {key: value for key, value in config.items() if value is not None or key == "q_lora_rank"}
    return {**defaults, **said}
