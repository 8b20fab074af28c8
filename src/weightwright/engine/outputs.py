"""What vLLM's offline API takes and gives back, with its names; and which of its options are honoured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightwright.engine.settings import EngineSettings
from weightwright.errors import SettingsError
from weightwright.kernels.cache import BLOCK_TOKENS
from weightwright.options import Precision
from weightwright.ports import Completion, TokenLogprob

_DTYPES: dict[str, Precision] = {
    "auto": "auto",
    "float32": "f32",
    "float": "f32",
    "bfloat16": "bf16",
}
# options of vLLM that change no answer here: how a GPU's kernels are captured, what is logged, needless limits
_WITHOUT_EFFECT = {
    "enforce_eager", "max_seq_len_to_capture", "compilation_config", "disable_custom_all_reduce",
    "disable_log_stats", "use_tqdm_on_load", "enable_chunked_prefill", "enable_lora", "max_lora_rank", "max_loras",
    "max_cpu_loras",
}  # fmt: skip
# options that mean something which is not done here: the values that ask for nothing, and what to do in their place
_REFUSED: dict[str, tuple[tuple[float, ...], str]] = {
    "block_size": ((BLOCK_TOKENS,), f"the KV cache has blocks of {BLOCK_TOKENS} tokens; leave it out"),
    "cpu_offload_gb": (
        (0,),
        "weights stay where they are; use precision='int8' or 'int4', or a smaller model",
    ),
    "swap_space": ((0, 4), "nothing is swapped, a sequence that gives way is computed again; leave it out"),
    "gpu_memory_utilization": ((0.9,), "say what the KV cache may take, such as kv_memory='2GB'"),
    "num_gpu_blocks_override": ((), "say what the KV cache may take, such as kv_memory='2GB'"),
}  # 4 GiB and 0.9 are vLLM's own defaults


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """The completions of one prompt."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    outputs: list[Completion]
    finished: bool = True
    prompt_logprobs: list[dict[int, TokenLogprob] | None] | None = None
    num_cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddingOutput:
    """The vector of one text."""

    embedding: list[float]


@dataclass(frozen=True, slots=True)
class EmbeddingRequestOutput:
    """One text's embedding, as vLLM's `LLM.embed` gives it."""

    request_id: str
    outputs: EmbeddingOutput
    finished: bool = True


@dataclass(frozen=True, slots=True)
class LoRARequest:
    """An adapter to answer with: loaded when first used, by its name."""

    lora_name: str
    lora_int_id: int
    lora_path: str


def precision_of(precision: Precision, dtype: str, quantization: str | None) -> Precision:
    """The precision that `precision`, or else vLLM's dtype and quantization, ask for. Raises SettingsError."""
    if dtype not in _DTYPES:
        raise SettingsError(f"dtype={dtype!r} is not known; use one of {', '.join(_DTYPES)}")
    if quantization is not None:
        raise SettingsError(
            f"quantization={quantization!r} is not supported: weights are packed at load; "
            "use precision='int8' or 'int4'"
        )
    return precision if precision != "auto" else _DTYPES[dtype]


def settings_of(options: Mapping[str, Any], base: Mapping[str, Any]) -> EngineSettings:
    """Engine settings from keyword options, by our names or vLLM's. Raises SettingsError for what neither has."""
    named = dict(base)
    for name, value in options.items():
        if name in _REFUSED:
            idle, remedy = _REFUSED[name]
            if value is not None and value not in idle:
                raise SettingsError(f"{name}={value!r} is not supported: {remedy}")
        elif name in EngineSettings.model_fields:
            named[name] = value
        elif name == "enable_prefix_caching":
            named["share_prefixes"] = value
        elif name == "max_num_batched_tokens":
            named["step_tokens"] = value
        elif name == "kv_cache_dtype":
            if value not in (None, "auto", "int8"):
                raise SettingsError(f"kv_cache_dtype={value!r} is not supported; use 'auto' or 'int8'")
            named["kv_precision"] = value
        elif name == "speculative_config":
            named["speculate"] = _guesses(value)
        elif name in ("pipeline_parallel_size", "data_parallel_size"):
            _refuse_parallel(name, value)
        elif name not in _WITHOUT_EFFECT:
            from weightwright.config import nearest

            known = [
                *EngineSettings.model_fields,
                *_WITHOUT_EFFECT,
                "enable_prefix_caching",
                "max_num_batched_tokens",
            ]
            raise SettingsError(f"LLM() has no option {name!r}{nearest(name, known)}")
    return EngineSettings(**{name: value for name, value in named.items() if value is not None})


def _refuse_parallel(name: str, value: Any) -> None:
    """Raise SettingsError for more than one of what vLLM divides otherwise."""
    if value not in (None, 1):
        raise SettingsError(
            f"{name}={value} is not supported; tensor_parallel_size with engine_python divides a model over the "
            "devices of this machine, and a vLLM that you started is used by its http:// address"
        )


def _guesses(config: Any) -> int | None:
    if not config:
        return None
    method = config.get("method", "ngram")
    if method != "ngram":
        raise SettingsError(
            f"speculative_config method {method!r} is not supported; use 'ngram', which looks up the prompt"
        )
    return int(config.get("num_speculative_tokens", 7))
