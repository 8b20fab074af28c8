"""The flags of FastChat's trainers (train.py, train_mem.py, train_lora.py) read as our settings.

The flags are those of FastChat 0.2.36 (April 2025), most of them transformers' own training arguments. What a command
leaves out has its default there.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weightwright.data.chat_templates import TEMPLATES
from weightwright.errors import SettingsError
from weightwright.tune import llamafactory_keys as keys
from weightwright.tune.llamafactory_values import Reading
from weightwright.tune.trainer_arguments import read_trainer_arguments

WHERE = "--fastchat"
_LORA = frozenset({"lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_bias", "q_lora"})
_STACK = (
    "continue from an adapter: merge it first (weightwright merge MODEL+ADAPTER) and tune the merged folder"
)
_GPUS = "several GPUs: start the same command under torchrun with --fsdp"
_T5 = "a flag of the T5 trainer; encoder-decoder models are not tuned here"
_OWN = frozenset(
    {
        "data_path",
        "eval_data_path",
        "model_max_length",
        "gradient_checkpointing",
        "lora_weight_path",
        "conv_template",
    }
)
# FastChat's conversation templates that are among ours; those of one form differ in their system message only
_CONVERSATIONS = {
    "vicuna_v1.1": "vicuna", "llama-2": "llama2", "alpaca": "alpaca",
    **dict.fromkeys(("chatml", "qwen-7b-chat", "Yi-34b-chat", "orca-2", "dolphin-2.2.1", "Hermes-2",
                     "openhermes-2.5-mistral-7b", "mpt-7b-chat", "llava-chatml"), "chatml"),
}  # fmt: skip
_TABLES = keys.Tables(
    {**keys.OLD_NAMES, "per_gpu_train_batch_size": "per_device_train_batch_size"},
    keys.NEEDLESS | {"lazy_preprocess", "fsdp_transformer_layer_cls_to_wrap", "padding_side", "local_rank", "debug"},
    {
        **{key: keys.NONE_HERE[key] for key in (
            "trust_remote_code", "fp16", "deepspeed", "neftune_noise_alpha", "label_smoothing_factor",
            "save_only_model", "dataloader_drop_last",
            "logging_dir", "overwrite_output_dir", "load_best_model_at_end", "metric_for_best_model", "push_to_hub",
        )},
        "lora_bias": (("none",), "biases are not trained beside an adapter"),
        "lora_weight_path": (("",), _STACK),
        "fsdp_config": ((), _GPUS),
        "preprocessed_path": ((), _T5),
        "num_data": ((-1,), _T5),
        "torch_compile": ((False,), "layers are fused here by themselves, not by torch.compile"),
        "adam_beta1": ((0.9,), "AdamW's first beta is 0.9"),
        "adam_beta2": ((0.999,), "AdamW's second beta is 0.999"),
        "adam_epsilon": ((1e-8,), "AdamW's epsilon is 1e-8"),
    },
    _LORA | _OWN | {"fsdp"} | keys.TRAINER,
)  # fmt: skip


def read_fastchat(text: str) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Settings for `TuneSettings` from the flags of a FastChat trainer, a whole command, or a script that holds one.

    With them notes on what works differently here, and the flags that are unknown or have no counterpart, each with
    why (`flag: why`). Raises SettingsError naming the flag whose value makes no sense.
    """
    launcher, script, words = _divided(_words(text))
    values = _flags(words)
    reading = Reading(WHERE, values, {}, _TABLES, _processes(launcher))
    lora = "lora" in script or bool(_LORA & values.keys())
    _method(reading, lora=lora)
    _data(reading)
    read_trainer_arguments(reading)
    _recomputing(reading)
    _several_gpus(reading)
    reading.list_rest()
    return reading.settings, tuple(reading.notes), tuple(reading.unmapped)


# -- the command -----------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    file = Path(text.strip()).expanduser() if len(text) < 1024 and "\n" not in text.strip() else None
    if file is not None and file.is_file():
        text = file.read_text(encoding="utf-8")
    try:
        return shlex.split(re.sub(r"\\\s*\n", " ", text), comments=True)
    except ValueError as error:
        raise SettingsError(f"{WHERE}: the command cannot be divided into words: {error}") from error


def _divided(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """What starts the trainer, the trainer's script, and its flags; the first two may be empty."""
    at = next((i for i, word in enumerate(words) if word.endswith(".py")), -1)
    script = Path(words[at]).name if at >= 0 else ""
    rest = words[at + 1 :]
    end = next(
        (i for i, word in enumerate(rest) if word in (";", "&&", "||", "|", "&", ">", "2>&1")), len(rest)
    )
    return list(words[: max(at, 0)]), script, list(rest[:end])


def _processes(launcher: Sequence[str]) -> int:
    """On how many GPUs the command would have run: torchrun's or deepspeed's own flags, else those of this run."""
    found = {
        name.replace("-", "_"): value
        for name, value in re.findall(r"--([\w-]+)[ =](\d+)", " ".join(launcher))
    }
    each = int(found.get("nproc_per_node", found.get("num_gpus", 0)))
    return each * int(found.get("nnodes", 1)) if each else int(os.environ.get("WORLD_SIZE", "1"))


def _flags(words: Sequence[str]) -> dict[str, Any]:
    """The flags with their values: none is true, several are a list; the last of a repeated flag counts."""
    values: dict[str, Any] = {}
    for name, given in _grouped(words):
        values[name] = True if not given else _scalar(given[0]) if len(given) == 1 else given
    return values


def _scalar(word: str) -> bool | float | str:
    """A truth value, a number, or the word itself."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return float(word)
    except ValueError:
        return word


def _grouped(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    name, given = "", list[str]()
    for word in words:
        if not word.startswith("--"):
            given.append(word)
            if not name:
                raise SettingsError(f"{WHERE}: {word!r} stands before any flag; expected --flag value …")
            continue
        if name:
            yield name, given
        name, _, value = word[2:].replace("-", "_", word[2:].partition("=")[0].count("-")).partition("=")
        given = [value] if value else []
    if name:
        yield name, given


# -- the parts -------------------------------------------------------------------------------------


def _method(reading: Reading, *, lora: bool) -> None:
    if not lora:
        reading.settings["method"] = "full"
        reading.notes.append("every weight is trained, as train.py does; --method lora trains an adapter")
        return
    reading.settings |= {
        "method": "qlora" if reading.flag("q_lora") else "lora",
        "rank": reading.whole("lora_r", 8),
        "alpha": reading.number("lora_alpha", 16),
        "dropout": reading.number("lora_dropout", 0.05),
        "targets": reading.text("lora_target_modules", "q_proj,v_proj"),
    }


def _data(reading: Reading) -> None:
    for key, ours in (("data_path", "data"), ("eval_data_path", "eval_data")):
        path = reading.text(key)
        if path is not None:
            reading.settings[ours] = str(Path(path).expanduser())
    length = reading.whole("model_max_length", 512)
    assert length is not None
    reading.settings |= {"max_length": length, "too_long": "truncate"}
    reading.notes.append(
        f"rows longer than {length:,} tokens are cut as there, but counted; --too-long drop, split or error are the "
        "other choices"
    )
    name = reading.text("conv_template")
    if template := _CONVERSATIONS.get(name or ""):
        reading.settings["template"] = template
        reading.notes.append(f"conv_template={name}: --template {template}, with the rows' system messages")
        return
    unused = f"conv_template={name} is not used: " if name else ""
    reading.notes.append(
        f"{unused}rows are shown in the model's own chat template, not in FastChat's conversation template; for a "
        f"model without one: --template {', '.join(TEMPLATES)} or a Jinja file (FastChat's trainers write vicuna)"
    )


def _recomputing(reading: Reading) -> None:
    reading.settings["gradient_checkpointing"] = reading.flag("gradient_checkpointing")


def _several_gpus(reading: Reading) -> None:
    """`full_shard auto_wrap` under torchrun is FSDP here; alone it says how to start it."""
    names = (reading.text("fsdp") or "").replace(",", " ").split()
    if not names:
        return
    if "offload" in names:
        reading.list_key(
            "fsdp", "weights are not kept in main memory between steps; more GPUs, or qlora, need less"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        reading.settings["fsdp"] = True
        reading.notes.append(
            "fsdp: weights, gradients and optimizer states are divided layer by layer, all of them"
        )
    else:
        reading.list_key("fsdp", _GPUS)
