"""transformers' own training arguments as our settings: what LLaMA-Factory's files and FastChat's flags share.

What is left out has transformers' default here, not ours, so that the run is the one that was meant.
"""

import math
from pathlib import Path

from weightwright.tune import llamafactory_keys as keys
from weightwright.tune.llamafactory_values import Reading


def read_trainer_arguments(reading: Reading) -> None:
    """Model, steps, precision, checkpoints, curves and evaluation."""
    for part in (_model, _steps, _precision, _saving, _curves, _evaluation):
        part(reading)


def _model(reading: Reading) -> None:
    name = reading.text("model_name_or_path")
    if name is not None:
        reading.settings["model"] = model_address(name)
    out = reading.text("output_dir")
    if out is not None:
        reading.settings["out"] = out


def model_address(name: str) -> str:
    """A model's name as an address: a folder that is here gets the mark of a path."""
    path = Path(name).expanduser()
    if name.startswith("~"):
        return str(path)
    return f"./{name}" if path.exists() and not name.startswith((".", "/")) else name


def _steps(reading: Reading) -> None:
    settings = reading.settings
    rows, times = (
        reading.whole("per_device_train_batch_size", 8),
        reading.whole("gradient_accumulation_steps", 1),
    )
    assert rows is not None
    assert times is not None
    settings |= {"batch": rows * times * reading.processes, "micro_batch": rows}
    if reading.processes > 1:
        reading.notes.append(
            f"a step has {settings['batch']} rows, those of {reading.processes} processes together: --batch says "
            "otherwise"
        )
    _length_of_run(reading)
    settings["learning_rate"] = reading.number("learning_rate", 5e-5)
    schedule = reading.choice("lr_scheduler_type", keys.SCHEDULES, "linear")
    if schedule is not None:
        settings["schedule"] = schedule
    warmup, share = reading.number("warmup_steps"), reading.number("warmup_ratio")
    if warmup is not None and warmup >= 1:
        settings["warmup_steps"] = int(warmup)
    elif warmup or share:  # transformers 5 takes a share as warmup_steps, too
        settings["warmup_ratio"] = warmup or share
    else:
        settings["warmup_steps"] = 0
    settings["weight_decay"] = reading.number("weight_decay", 0.0)
    settings["max_grad_norm"] = reading.number("max_grad_norm", 1.0)
    settings["seed"] = reading.whole("seed", 42)
    named = reading.said("optim")
    optimizer = reading.choice("optim", keys.OPTIMIZERS, "adamw_torch")
    if optimizer is not None:
        settings["optimizer"] = optimizer
    if optimizer == "adamw" and "paged" in named:
        reading.notes.append(
            f"optim={named} became optimizer=adamw: the same steps, its states are not paged out of the GPU; "
            "adamw8bit pages them"
        )


def _length_of_run(reading: Reading) -> None:
    epochs, steps = reading.number("num_train_epochs", 3.0), reading.whole("max_steps")
    assert epochs is not None
    if steps is not None and steps > 0:  # there, too, it counts alone, however many epochs it takes
        reading.settings |= {"max_steps": steps, "epochs": steps}
        return
    whole = max(1, math.ceil(epochs))
    reading.settings["epochs"] = whole
    if epochs != whole:
        reading.notes.append(f"num_train_epochs={epochs:g} became epochs={whole}: whole ones are counted here; "
                             "max_steps stops earlier")  # fmt: skip


def _precision(reading: Reading) -> None:
    pure = reading.flag("pure_bf16")
    if reading.flag("bf16") or pure:
        reading.settings["precision"] = "bf16"
    if pure:
        reading.notes.append("pure_bf16: the base model is bf16, what is trained is kept in f32")
    if reading.flag("tf32"):
        reading.settings["tf32"] = True
    if reading.flag("use_cpu"):
        reading.settings["device"] = "cpu"


def _saving(reading: Reading) -> None:
    every = reading.steps_or_share("save_steps")
    if every is not None:
        reading.settings["save_every"] = every
    keep = reading.whole("save_total_limit")
    if keep is not None and keep >= 1:
        reading.settings["keep"] = keep
    if reading.text("resume_from_checkpoint") is not None:
        reading.notes.append("a run goes on from its last checkpoint by itself: the same command again")


def _curves(reading: Reading) -> None:
    programs = {name.strip() for name in (reading.text("report_to") or "none").split(",")} - {"none"}
    if "tensorboard" in programs:
        reading.settings["tensorboard"] = True
    others = ", ".join(sorted(programs - {"tensorboard"}))
    if others:
        reading.list_key("report_to", f"nothing is written for {others}; {keys.CURVES}")


def _evaluation(reading: Reading) -> None:
    strategy, every = reading.text("eval_strategy"), reading.steps_or_share("eval_steps")
    if strategy == "steps" and every is not None:
        reading.settings["eval_every"] = every
    elif strategy == "epoch":
        reading.notes.append(
            "evaluation is every quarter of the run, not every epoch; eval_every sets its steps"
        )
