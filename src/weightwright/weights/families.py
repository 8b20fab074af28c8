"""How the families that transformers knows are run; the tests hold each to transformers' own logits."""

from functools import cache
from typing import Any

# they attend through the engine's paged cache, also where a window is shorter than the text
PAGED = frozenset({
    "afmoe", "apertus", "apertus1p5_text", "arcee", "aria_text", "axk1", "biogpt", "bitnet", "codegen",
    "cohere", "cohere2", "cohere2_moe", "ctrl", "cwm", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5",
    "ernie4_5_moe", "exaone", "exaone4", "exaone_moe", "flex_olmo", "flint", "gemma", "gemma2", "gemma3",
    "gemma3_text", "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified_text", "glm", "glm4", "glm4_moe",
    "glm4_moe_lite", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neox", "gpt_oss", "gptj", "granite", "granite_swa",
    "granitemoe", "granitemoe_swa", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3",
    "hyperclovax", "internlm3", "iquestcoder", "jais2", "jetmoe", "kolibri1", "laguna", "llama", "mellum",
    "mimo_v2_flash", "minicpm3", "minimax_m2", "minimax_m3_vl_text", "ministral", "ministral3", "mistral",
    "mixtral", "modernbert-decoder", "nanochat", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt",
    "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "sarvam_mla",
    "sarvam_moe", "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "vaultgemma", "youtu",
})  # fmt: skip
# over caches of their own: state-space and hybrid layers, biases and masks of other kinds
OWN_CACHES = frozenset({
    "bamba", "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "bloom", "diffllama", "falcon",
    "falcon_h1", "falcon_mamba", "gpt_neo", "gpt_neox_japanese", "granitemoehybrid", "inkling_text", "jamba",
    "kimi_linear", "lara_mini", "lfm2", "lfm2_moe", "lfm3", "llama4", "llama4_text", "mamba", "mamba2",
    "marian", "mbart", "mpt", "mvp", "olmo_hybrid", "pegasus", "plbart", "qwen3_5", "qwen3_5_moe",
    "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "trocr", "whisper", "xglm",
})  # fmt: skip
# of those, decoders that count positions by what is cached, padding included: their sequences share no pass
ALONE = frozenset({
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart",
    "trocr", "whisper",
})  # fmt: skip
# the language parts of those that read images or sound as well, which attend through the paged cache
PAGED_PARTS = frozenset({
    "qwen2_5_vl_text", "qwen2_vl_text", "qwen3_vl_moe_text", "qwen3_vl_text",
})  # fmt: skip
# of those that read images or sound as well, and whether they attend through the paged cache
SEEING = {
    "aya_vision": True, "exaone4_5": True, "glm4v": False, "idefics3": True, "inkling_mm_model": False,
    "internvl": True, "kimi_k25": True, "llava": True, "llava_next": True, "llava_onevision": True, "mistral3": True,
    "ovis2": True, "qwen2_5_vl": True, "qwen2_vl": True, "qwen3_vl": True, "qwen3_vl_moe": True, "smolvlm": True,
    "video_llama_3": True,
}  # fmt: skip
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}


def is_paged(config: Any) -> bool:
    """Whether a transformers config, or its language part, is of a paged family, with layers of the usual kinds."""
    text = config.get_text_config(decoder=True)
    known = {config.model_type, text.model_type} & PAGED or text.model_type in PAGED_PARTS
    return bool(known) and _KNOWN_LAYERS.issuperset(getattr(text, "layer_types", None) or ())


def model_class(config: Any) -> Any:
    """Transformers' class of automatic models that makes the one of a config: for text, or for text and images."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    only_as_seeing = type(config) not in AutoModelForCausalLM._model_mapping
    seeing = type(config) in AutoModelForImageTextToText._model_mapping
    return AutoModelForImageTextToText if only_as_seeing and seeing else AutoModelForCausalLM


@cache
def transformers_types() -> frozenset[str]:
    """The model types that transformers has code for."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return frozenset(CONFIG_MAPPING_NAMES)
