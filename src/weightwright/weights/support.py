"""Whether a model can be used, and why not if it cannot; read from its files without loading weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.hub import quantized, weight_files
from weightwright.hub.mapping.families import mapped_config
from weightwright.weights import gguf_header
from weightwright.weights.gguf_cuts import CUTS
from weightwright.weights.gguf_tokenizer import KINDS

# in transformers' table of GGUF architectures, but groups of keys or encoder-decoders
_NOT_MODELS = {"general", "tokenizer", "t5", "umt5"}
_READ_HERE = {"deepseek2"}


@dataclass(frozen=True, slots=True)
class Support:
    """A verdict: `why` is empty where the model is supported, else the reason with its remedy."""

    ok: bool
    architecture: str
    why: str = ""


def require(path: Path, *, trust_remote_code: bool = False) -> None:
    """Raise ModelError with the reason where the model at `path` cannot be loaded."""
    verdict = check(path, trust_remote_code=trust_remote_code)
    if not verdict.ok:
        raise ModelError(f"{path}: {verdict.why}")


def check(path: Path, *, trust_remote_code: bool = False) -> Support:
    """Judge a folder with a config.json, or a GGUF file."""
    if path.is_file():
        return check_gguf(gguf_header.metadata(path))
    if not (path / "config.json").is_file() and (path / "adapter_config.json").is_file():
        base = weight_files.read_json(path / "adapter_config.json").get("base_model_name_or_path") or "BASE"
        return Support(
            False, "", f"this is a LoRA adapter; write its base model before it: {base}+{path.absolute()}"
        )
    if not (path / "config.json").is_file():
        return Support(False, "", "no config.json in the folder; expected one as save_pretrained writes it")
    config = weight_files.read_json(path / "config.json")
    kind = str(config.get("model_type", ""))
    names = config.get("architectures") or [kind]
    architecture = str(names[0])
    if "auto_map" in config and trust_remote_code and kind not in causal_model_types():
        return Support(True, architecture)
    try:
        config = mapped_config(config)
    except ModelError as error:
        return Support(False, architecture, str(error))
    kind = str(config.get("model_type", ""))
    if "auto_map" in config and kind not in causal_model_types():
        why = (
            f"{architecture} brings its own code, which would run here; if you trust it: --trust-remote-code"
        )
        return Support(False, architecture, why)
    verdict = _known(kind, architecture)
    why = quantized.refusal(quantized.quantization(path)) if verdict.ok else ""
    return Support(False, architecture, why) if why else verdict


def check_gguf(header: Mapping[str, Any]) -> Support:
    """Judge a GGUF file by its header: what kind of file, which architecture, which tokenizer."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    architecture = str(header.get("general.architecture", ""))
    known = {_plain(name) for name in GGUF_SUPPORTED_ARCHITECTURES} - _NOT_MODELS | _READ_HERE
    kind, cut = header.get("tokenizer.ggml.model"), header.get("tokenizer.ggml.pre")
    why = ""
    if header.get("general.type") == "adapter":
        why = "this is an adapter for llama.cpp; use the folder that it was written from: BASE+./ADAPTER"
    elif _plain(architecture) not in known:
        why = (
            f"GGUF files of the architecture {architecture or '(none)'} cannot be read here; use safetensors"
        )
    elif kind not in (None, *KINDS):
        why = f"its tokenizer is of the kind {kind!r}; known are {', '.join(KINDS)}; use safetensors"
    elif kind == "gpt2" and cut not in (None, *CUTS):
        why = f"its tokenizer cuts text by the rule {cut!r}, which is not known here; use safetensors"
    return Support(not why, architecture, why)


def causal_model_types() -> frozenset[str]:
    """The model types that transformers can load as language models."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def _plain(architecture: str) -> str:
    return architecture.replace("-", "").replace("_", "").lower()


def _known(kind: str, architecture: str) -> Support:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    )

    if kind in causal_model_types():
        return Support(True, architecture)
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return Support(True, architecture)
    if kind in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
        why = (f"{architecture} reads images or sound beside text, which are not read here; take its text-only "
               "version, or serve it with another engine and use its http:// address")  # fmt: skip
        return Support(False, architecture, why)
    if kind in CONFIG_MAPPING_NAMES:
        why = f"{architecture} does not generate text; expected a causal model such as Llama, Qwen or Mistral"
        return Support(False, architecture, why)
    named = architecture or kind or "(no name)"
    why = f"transformers {transformers.__version__} does not know the architecture {named}; a newer one may"
    return Support(False, architecture, why)
