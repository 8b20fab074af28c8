"""The memory that `plan` says of training, and what a process takes: python bench/tune_memory.py --model DIR [DIR …]

Each setting runs in a fresh process: `weightwright tune` for two steps on rows of exactly the planned length, with
held-out rows; the peak is its VmHWM, with everything that Python, torch and transformers take. The constants of
`plan/measured.py` are fixed on the first model; the errors that count are those of the others. Runs that the machine
has no room for are left out and named. Peaks are kept in a file: what it holds is not measured again. Writes
bench/results/tune_memory.md.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.process import fresh_python
from harness.report import Table, machine, versions, write_results

RUN = """
import sys
from weightwright.cli.app import main
from weightwright.machine.peak import peak_bytes

status = main(["tune", "--config", sys.argv[1], "--show", "0"])
print("peak", peak_bytes())
sys.exit(status)
"""
LORA = {"max_length": 512, "micro_batch": 2, "batch": 2}
PAIRS = {**LORA, "max_length": 256, "micro_batch": 4, "batch": 4}
SETTINGS: tuple[Mapping[str, Any], ...] = (
    LORA,
    {**LORA, "micro_batch": 1, "batch": 1},
    {**LORA, "max_length": 128, "micro_batch": 8, "batch": 8},
    {**LORA, "max_length": 1024, "micro_batch": 1, "batch": 1},
    {**LORA, "max_length": 2048, "micro_batch": 1, "batch": 1},
    {**LORA, "batch": 8},
    {**LORA, "rank": 64},
    {**LORA, "rank": 256, "optimizer": "sgd"},
    {**LORA, "targets": "q_proj,v_proj"},
    {**LORA, "precision": "f32"},
    {**LORA, "dropout": 0.1},
    {**LORA, "dora": True},
    {**LORA, "dora": True, "dropout": 0.1},
    {**LORA, "micro_batch": 4, "batch": 4, "gradient_checkpointing": True},
    {**LORA, "max_length": 2048, "micro_batch": 1, "batch": 1, "gradient_checkpointing": True},
    {**LORA, "method": "qlora"},
    {**LORA, "method": "qlora", "gradient_checkpointing": True},
    {**LORA, "int8_forward": True},
    {**LORA, "method": "full"},
    {**LORA, "method": "full", "batch": 4},
    {**LORA, "method": "full", "precision": "bf16"},
    {**LORA, "method": "full", "optimizer": "sgd", "gradient_checkpointing": True},
    {**PAIRS, "objective": "dpo"},
    {**PAIRS, "objective": "dpo", "method": "qlora"},
    {**PAIRS, "objective": "dpo", "method": "full", "optimizer": "sgd", "gradient_checkpointing": True},
    {**PAIRS, "objective": "orpo"},
    {**PAIRS, "objective": "kto"},
)
STEPS = 2


@dataclass(frozen=True)
class Measured:
    """A setting with what was planned for it and what it took, bytes."""

    model: str
    setting: str
    phase: str
    planned: int
    peak: int
    accelerate: int

    @property
    def error(self) -> float:
        """By how much of the peak the plan is off."""
        return self.planned / self.peak - 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="the constants are fixed on the first")
    parser.add_argument("--only", nargs="*", type=int, help="numbers of settings, from 0")
    parser.add_argument("--room-gb", type=float, default=20.0)
    parser.add_argument("--peaks", type=Path, default=Path("runs/tune_memory_peaks.json"))
    parser.add_argument("--known", action="store_true", help="report what the file holds, measure nothing")
    args = parser.parse_args()
    numbers = args.only if args.only is not None else range(len(SETTINGS))
    found: list[Measured] = []
    left_out: list[str] = []
    for model in args.model:
        for number in numbers:
            one = measure(model, SETTINGS[number], args.room_gb * 1e9, args.peaks, only_known=args.known)
            if one is None:
                continue
            if isinstance(one, Measured):
                found.append(one)
                print(number, one.model, one.setting, one.phase, f"{one.planned / 1e9:.3f}",
                      f"{one.peak / 1e9:.3f} {one.error:+.1%}", flush=True)  # fmt: skip
            else:
                left_out.append(one)
    text = report(found, left_out, args.model)
    if args.only is None:
        write_results("tune_memory", text)
    else:
        print(text)


def measure(
    model: str, options: Mapping[str, Any], room_bytes: float, peaks: Path, *, only_known: bool
) -> Measured | str | None:
    """What a run takes; its name where the plan says that there is no room for it."""
    from weightwright.address.models import parse_model
    from weightwright.hub.store import locate
    from weightwright.plan.memory import estimate
    from weightwright.plan.spec import from_file
    from weightwright.tune.memory import plan_settings
    from weightwright.tune.settings import TuneSettings

    path = locate(parse_model(model))
    assert path is not None
    values = {**options, "model": model, "data": "rows.json", "out": "run"}
    values.setdefault("gradient_checkpointing", False)
    settings = TuneSettings.model_validate(values)
    phase = estimate(from_file(path), plan_settings(settings, longest=settings.max_length)).peak
    shown = ", ".join(f"{key} {value}" for key, value in options.items())
    name = f"{Path(model).name}: {shown}"
    if phase.total_bytes > room_bytes:
        return name
    known = json.loads(peaks.read_text(encoding="utf-8")) if peaks.is_file() else {}
    if name not in known:
        if only_known:
            return None
        known[name] = peak_of(values)
        peaks.parent.mkdir(parents=True, exist_ok=True)
        peaks.write_text(json.dumps(known, indent=1), encoding="utf-8")
    by_others = by_accelerate(path, settings.precision)
    return Measured(Path(model).name, shown, phase.name, phase.total_bytes, known[name], by_others)


def peak_of(values: Mapping[str, Any]) -> int:
    """The most bytes that a fresh process holds which runs `tune` with these settings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings.yaml").write_text(json.dumps(with_rows(values, folder)), encoding="utf-8")
        return int(fresh_python("-c", RUN, folder / "settings.yaml").split()[-1])


def with_rows(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings on rows of exactly `max_length` tokens, which are held out, too."""
    objective, length = values.get("objective", "sft"), int(values["max_length"])
    rows = list(rows_of(values["model"], objective, length, int(values["batch"]) * STEPS))
    for name in ("rows", "held_out"):
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    files = {"data": "rows.json", "eval_data": "held_out.json", "out": "run"}
    return {**values, "max_steps": STEPS} | {key: str(folder / name) for key, name in files.items()}


def rows_of(model: str, objective: str, length: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows whose every conversation has `length` tokens, a quarter of them in the question."""
    from weightwright.weights.load import load_tokenizer

    tokenizer = load_tokenizer(model)
    chance = random.Random(0)
    for _ in range(count):
        question = words(chance, length // 4)
        answers = [fill(tokenizer, question, length, chance) for _ in range(2)]
        if objective in ("dpo", "orpo"):
            yield {"prompt": question, "chosen": answers[0], "rejected": answers[1]}
        elif objective == "kto":
            yield {"prompt": question, "completion": answers[0], "label": chance.random() < 0.5}
        else:
            yield {"instruction": question, "output": answers[0]}


def fill(tokenizer: Any, question: str, length: int, chance: random.Random) -> str:
    """An answer with which the row has exactly `length` tokens."""
    from weightwright.data.sample import Sample
    from weightwright.data.template import encode
    from weightwright.ports import Message

    answer = words(chance, length)
    while True:
        messages = Message("user", question), Message("assistant", answer)
        sample = Sample(messages, (False, True), "a row")
        tokens = len(encode(sample, tokenizer).token_ids)
        if tokens == length:
            return answer
        parts = answer.split(" ")
        answer = " ".join(
            parts[: length - tokens] if tokens > length else [*parts, *["and"] * (length - tokens)]
        )


def words(chance: random.Random, count: int) -> str:
    """Common words, most of them one token."""
    return " ".join(chance.choices(["the", "time", "of", "water", "and", "light", "in", "house"], k=count))


def by_accelerate(path: Path, precision: str) -> int:
    """`accelerate estimate-memory`: "Training using Adam" in the run's precision."""
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModel

    folder, file = (path, None) if path.is_dir() else (path.parent, path.name)
    config = AutoConfig.from_pretrained(folder, **({"gguf_file": file} if file else {}))
    with init_empty_weights():
        model = AutoModel.from_config(config, dtype="float32")
    size, _ = calculate_maximum_sizes(model)
    return max(estimate_training_usage(size, "float32" if precision == "f32" else "float16").values())


def report(found: list[Measured], left_out: list[str], models: list[str]) -> str:
    first = Path(models[0]).name
    table = Table("model", "settings", "largest phase", "plan (GB)", "peak (GB)", "error", "accelerate (GB)")
    for one in found:
        table.row(one.model, one.setting, one.phase, one.planned / 1e9, one.peak / 1e9, f"{one.error:+.1%}",
                  one.accelerate / 1e9)  # fmt: skip
    errors = Table("model", "settings", "median error", "worst error", "worst of accelerate's")
    for model in models:
        name = Path(model).name
        mine = [one for one in found if one.model == name]
        if not mine:
            continue
        errors.row(
            name + (" (constants fixed here)" if name == first else ""),
            len(mine),
            f"{statistics.median(abs(one.error) for one in mine):.1%}",
            f"{max((one.error for one in mine), key=abs):+.1%}",
            f"{max((one.accelerate / one.peak - 1 for one in mine), key=abs):+.0%}",
        )
    parts = [
        "# The memory that `plan` says of training, and what is taken",
        machine(),
        versions(),
        errors,
        table,
    ]
    if left_out:
        parts.append("No room here: " + "; ".join(left_out) + ".")
    parts.append(
        "`accelerate estimate-memory` counts the weights four times (weights, gradients and Adam's two states, in "
        "f32; in half precision no less). It does not model adapters, 4-bit weights, activations, the length and "
        "number of rows, recomputing, the vocabulary's loss, other optimizers, objectives, nor what Python and torch "
        "take."
    )
    return "\n\n".join(map(str, parts)) + "\n"


if __name__ == "__main__":
    main()
