"""A LLaMA-Factory file of `llamafactory-cli chat` or `api` read as the settings of `chat` or `serve`."""

from pathlib import Path
from typing import Any

from weightwright.tune import llamafactory_keys as keys
from weightwright.tune.llamafactory_values import Reading, parsed
from weightwright.tune.trainer_arguments import model_address

Read = tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]

_PRECISIONS = {"auto": "auto", "bfloat16": "bf16", "float32": "f32", "bf16": "bf16", "fp32": "f32"}
_READ = frozenset({
    "model_name_or_path", "adapter_name_or_path", "default_system", "do_sample", "temperature", "top_p", "top_k",
    "max_new_tokens", "repetition_penalty", "infer_backend", "infer_dtype", "vllm_maxlen", "sglang_maxlen",
    "trust_remote_code", "template",
})  # fmt: skip
_ENGINE = "the KV cache's memory is set by --kv-memory"
_NONE_HERE: keys.Absent = {
    "num_beams": ((1,), "beam search is offered by LLM.beam_search and the API's use_beam_search"),
    "length_penalty": ((1, 1.0), "belongs to beam search"),
    "max_length": ((), "--max-tokens limits the answer, --max-context prompt and answer"),
    "skip_special_tokens": ((True,), "special tokens are never part of an answer here"),
    "vllm_gpu_util": ((), _ENGINE),
    "sglang_mem_fraction": ((), _ENGINE),
    "sglang_tp_size": ((-1, 1), "a model runs on one device"),
    "vllm_config": ((), "there is no vLLM in it; weightwright serve --help lists the engine's settings"),
    "quantization_bit": ((), "weights are packed by --precision (int8, int4)"),
    "enable_thinking": ((), "say it with each request, as chat_template_kwargs"),
}
_TUNING = keys.LLAMAFACTORY.all - _READ - _NONE_HERE.keys()
_TABLES = keys.Tables(
    {}, _TUNING | {"vllm_enforce_eager", "vllm_max_lora_rank", "sglang_config"}, _NONE_HERE, _READ
)


def read_llamafactory_chat(path: Path) -> Read:
    """Settings for `chat`, with notes on what works differently and the keys without a counterpart, each with why.

    What the file leaves out of its sampling has LLaMA-Factory's default. Raises SettingsError with file and line.
    """
    reading = Reading(str(path), *parsed(path), _TABLES)
    adapters = _model_and_engine(reading)
    if len(adapters) > 1:
        reading.list_key(
            "adapter_name_or_path",
            "one adapter is taken; merge the others first (weightwright merge MODEL+DIR)",
        )
    elif adapters:
        reading.settings["adapter"] = adapters[0]
    sampled = reading.flag("do_sample", default=True)
    reading.settings |= {
        "temperature": reading.number("temperature", 0.95) if sampled else 0.0,
        "top_p": reading.number("top_p", 0.7),
        "top_k": reading.whole("top_k", 50),
        "repetition_penalty": reading.number("repetition_penalty", 1.0),
        "max_tokens": reading.whole("max_new_tokens", 1024),
    }
    reading.number("temperature")  # without sampling it means nothing there, either
    system = reading.text("default_system")
    if system is not None:
        reading.settings["system"] = system
    return _ended(reading)


def read_llamafactory_serve(path: Path) -> Read:
    """Settings for `serve`, as `read_llamafactory_chat`; an adapter is offered under the name of its folder."""
    reading = Reading(str(path), *parsed(path), _TABLES)
    adapters = _model_and_engine(reading)
    if adapters:
        reading.settings["adapter"] = tuple(f"{Path(one).name}={one}" for one in adapters)
        reading.notes.append("adapters are models of their own in the API, beside the base model")
    for key in (
        "do_sample",
        "temperature",
        "top_p",
        "top_k",
        "max_new_tokens",
        "repetition_penalty",
        "default_system",
    ):
        if reading.holds(key):
            reading.list_key(key, "sent with each request; a request without it has the model's own default")
    return _ended(reading)


def _model_and_engine(reading: Reading) -> list[str]:
    """Read what both share; the folders of the adapters."""
    name = reading.text("model_name_or_path")
    if name is not None:
        reading.settings["model"] = model_address(name)
    engine: dict[str, Any] = {}
    precision = reading.choice("infer_dtype", _PRECISIONS, "auto")
    if precision is not None:
        engine["precision"] = precision
    lengths = [reading.whole(key) for key in ("vllm_maxlen", "sglang_maxlen")]
    if given := next((length for length in lengths if length), None):
        engine["max_context"] = given
    if reading.flag("trust_remote_code"):
        engine["trust_remote_code"] = True
    reading.settings["engine"] = engine
    backend = reading.text("infer_backend")
    if backend is not None:
        reading.notes.append(f"infer_backend={backend} is not used: this package's own engine answers")
    template = reading.text("template")
    if template is not None:
        reading.notes.append(f"template={template} is not used: the model's own chat template is")
    adapters = reading.text("adapter_name_or_path")
    return [one.strip() for one in adapters.split(",") if one.strip()] if adapters else []


def _ended(reading: Reading) -> Read:
    reading.list_rest()
    return reading.settings, tuple(reading.notes), tuple(reading.unmapped)
