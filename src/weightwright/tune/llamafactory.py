"""A LLaMA-Factory training file read as our settings: what maps, what differs, and what has no counterpart.

The keys are those of LLaMA-Factory 0.9 (August 2026), whose training part is transformers' own training arguments.
What a file leaves out has LLaMA-Factory's default here, not ours, so that the run is the one that was meant.
"""

from pathlib import Path
from typing import Any

from weightwright.data.chat_templates import TEMPLATES
from weightwright.tune import llamafactory_keys as keys
from weightwright.tune.llamafactory_values import Reading, parsed
from weightwright.tune.trainer_arguments import read_trainer_arguments


def read_llamafactory(path: Path) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Settings for `TuneSettings` from a LLaMA-Factory YAML or JSON file.

    With them notes on what works differently here, and the keys that are unknown or have no counterpart, each with
    why (`key: why`). Raises SettingsError with file and line where the file cannot be read or a value makes no sense.
    """
    reading = Reading(str(path), *parsed(path), keys.LLAMAFACTORY)
    for part in (_data, _method, _objective, _length, read_trainer_arguments, _recomputing, _held_out):
        part(reading)
    reading.list_rest()
    return reading.settings, tuple(reading.notes), tuple(reading.unmapped)


# -- the parts -------------------------------------------------------------------------------------


def _data(reading: Reading) -> None:
    folder = reading.text("dataset_dir", "data")
    assert folder is not None
    for key, ours in (("dataset", "data"), ("eval_dataset", "eval_data")):
        names = reading.text(key)
        if names is None:
            continue
        if folder == "ONLINE" or folder.startswith("REMOTE:"):
            reading.list_key(
                key, f"dataset_dir={folder} takes rows from a hub; download them and name the file"
            )
            continue
        listed = [name.strip() for name in names.split(",") if name.strip()]
        reading.settings[ours] = f"{folder}:{','.join(listed)}"
    template = reading.text("template")
    if template in TEMPLATES:
        reading.settings["template"] = template
    elif template is not None:
        reading.notes.append(f"template={template} is not used: the model's own chat template is, in training, chat "
                             f"and serving alike; for a model without one: --template {', '.join(TEMPLATES)} or a "
                             "file")  # fmt: skip


def _method(reading: Reading) -> None:
    settings = reading.settings
    method = reading.choice("finetuning_type", {"lora": "lora", "full": "full"}, "lora")
    bits = reading.whole("quantization_bit")
    if bits == 4 and method == "lora":
        method = "qlora"
    elif bits is not None:
        reading.list_key(
            "quantization_bit", f"{bits} bits with this method are not offered; 4 bits with lora are"
        )
    if method is not None:
        settings["method"] = method
    rank = reading.whole("lora_rank", 8)
    settings["rank"] = rank
    alpha = reading.number("lora_alpha")
    if alpha is not None:
        settings["alpha"] = alpha
    settings["dropout"] = reading.number("lora_dropout", 0.0)
    targets = reading.text("lora_target", "all")
    assert targets is not None
    settings["targets"] = ",".join("all-linear" if name.strip() == "all" else name.strip()
                                   for name in targets.split(","))  # fmt: skip
    for key, ours in (("use_dora", "dora"), ("use_rslora", "rslora")):
        if reading.flag(key):
            settings[ours] = True


def _objective(reading: Reading) -> None:
    stage = reading.choice("stage", {"sft": "sft", "pt": "pretrain", "dpo": "dpo", "kto": "kto"}, "sft")
    loss = reading.choice("pref_loss", {"sigmoid": "dpo", "orpo": "orpo", "simpo": "simpo"}, "sigmoid")
    objective = loss if stage == "dpo" else stage
    if objective is None:
        return
    settings = reading.settings
    settings["objective"] = objective
    numbers = {
        "beta": reading.number("pref_beta", 0.1),
        "gamma": reading.number("simpo_gamma", 0.5),
        "label_smoothing": reading.number("dpo_label_smoothing", 0.0),
        "desirable_weight": reading.number("kto_chosen_weight", 1.0),
        "undesirable_weight": reading.number("kto_rejected_weight", 1.0),
    }
    taken = {"dpo": ("beta", "label_smoothing"), "simpo": ("beta", "gamma", "label_smoothing"), "orpo": ("beta",),
             "kto": ("beta", "desirable_weight", "undesirable_weight")}  # fmt: skip
    settings.update({name: numbers[name] for name in taken.get(objective, ())})
    prompt, last = reading.flag("train_on_prompt"), reading.flag("mask_history")
    if prompt and last:
        raise reading.wrong(
            "mask_history", last, "cannot stand beside train_on_prompt=True, there neither; choose one"
        )
    if objective == "sft":
        settings["train_on"] = "all" if prompt else "last" if last else "answers"


def _length(reading: Reading) -> None:
    length = reading.whole("cutoff_len", 2048)
    assert length is not None
    reading.settings |= {"max_length": length, "too_long": "truncate"}
    reading.notes.append(f"rows longer than {length:,} tokens are cut as there, but counted; --too-long drop, split "
                         "or error are the other choices")  # fmt: skip
    plain, neat = reading.flag("packing"), reading.flag("neat_packing")
    if plain or neat:
        reading.settings["packing"] = True
    if plain and not neat:
        reading.notes.append("packed rows do not see each other here; there they do with packing alone")
    if plain or neat:
        reading.notes.append(
            "a step counts rows here, and packed sequences of many rows there: raise batch to match"
        )


def _held_out(reading: Reading) -> None:
    share = reading.number("val_size", 0.0)
    if share:
        reading.list_key("val_size", f"{share:g} of the rows are not set aside by themselves; put them into a file "
                         "of their own and name it as eval_data")  # fmt: skip


def _recomputing(reading: Reading) -> None:
    said, off = (look("disable_gradient_checkpointing") for look in (reading.holds, reading.flag))
    reading.settings["gradient_checkpointing"] = not off if said else "auto"
    if not said:
        reading.notes.append("activations are recomputed where the memory asks for it, there by default always: the "
                             "same weights; --gradient-checkpointing does so here")  # fmt: skip
