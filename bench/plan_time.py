"""The time that `plan` says of training, and what runs take: python bench/plan_time.py --model MODEL [MODEL …]

For each setting in a fresh process: this machine is measured as `plan` does it, a run of a few steps is timed, and
the machine is measured twice again; the estimate is from the best of these probes for each rate. Rows are Alpaca's,
cut at 512 tokens, or full ones. Steps are compared without the first three, which prepare kernels, and without
loading, evaluation and saving. `--clock cpu` holds both to one thread and to its CPU time, for a machine that others
use, too. Writes bench/results/plan_time.md.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.process import fresh_python, last_json
from harness.report import Table, machine, versions, write_results

SETTINGS: tuple[Mapping[str, Any], ...] = (
    {},
    {"batch": 16},
    {"rank": 64},
    {"targets": "q_proj,v_proj"},
    {"method": "qlora"},
    {"method": "full", "batch": 4},
    {"method": "full", "precision": "bf16", "batch": 4},
    {"gradient_checkpointing": True},
    {"packing": False},
    {"packing": False, "micro_batch": 1, "batch": 4},
    {"full_rows": 512, "batch": 2},
    {"full_rows": 1024, "batch": 2},
)
STEPS, SKIP = 6, 3  # the first ones meet new widths, for which oneDNN makes programs
WORST = 0.2  # median error


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["smollm2-135m"])
    parser.add_argument("--data", type=Path, required=True, help="alpaca_en_demo.json")
    parser.add_argument("--only", nargs="*", type=int, help="numbers of settings, from 0")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(**json.loads(args.case))))
        return
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"} if args.clock == "cpu" else {}
    table = Table(
        "model", "setting", "planned tokens/s", "measured", "planned ÷ measured time", "largest parts"
    )
    ratios = []
    for model in args.model:
        for number in args.only if args.only is not None else range(len(SETTINGS)):
            options = dict(SETTINGS[number])
            case = {"model": model, "data": str(args.data), "options": options, "clock": args.clock}
            found = last_json(
                fresh_python(__file__, "--data", args.data, "--case", json.dumps(case), environment=threads)
            )
            print(number, found, flush=True)
            ratios.append(found["planned_s"] / found["measured_s"])
            parts = sorted(found["parts"].items(), key=lambda item: -item[1])[:4]
            table.row(
                Path(model).name,
                ", ".join(f"{key} {value}" for key, value in options.items()) or "as it comes",
                f"{found['tokens'] / found['planned_s']:,.0f}",
                f"{found['tokens'] / found['measured_s']:,.0f}",
                f"{ratios[-1]:.2f}",
                ", ".join(f"{name} {seconds / found['planned_s']:.0%}" for name, seconds in parts),
            )
    errors = sorted(abs(ratio - 1) for ratio in ratios)
    said = (
        f"Error of the planned time: median {statistics.median(errors):.0%}, worst {errors[-1]:.0%} "
        f"of {len(errors)} settings (at most {WORST:.0%} in the median is wanted)."
    )
    clock = "One thread, its CPU time." if args.clock == "cpu" else "Wall clock, all threads."
    sections = (
        "# The time of training, planned and measured",
        machine(),
        versions(),
        f"{said} {clock}",
        table,
    )
    if args.only is None:
        write_results("plan_time", *sections)
    else:
        print(*sections, sep="\n\n")


def measure(model: str, data: str, options: dict[str, Any], clock: str) -> dict[str, Any]:
    """Probe, run, probe: seconds of the steps that are timed, and what is planned for the same rows."""
    if clock == "cpu":
        time.perf_counter = time.process_time  # before anybody imports it
    from weightwright.plan.duration import training_time
    from weightwright.tune import run as tuning

    seen: dict[str, Any] = {}
    prepare = tuning.prepare

    def probing(plan: Any, *rest: Any) -> Any:
        seen.update(planned(plan, model))
        return prepare(plan, *rest)

    tuning.prepare = probing
    with tempfile.TemporaryDirectory() as name:
        settings = settings_of(model, json.loads(Path(data).read_text(encoding="utf-8")), options, Path(name))
        tuning.tune(settings)
        lines = (settings.out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if "loss" in line]
    seconds = [line["tokens"] / line["tokens_per_s"] for line in steps]
    rates = [seen["probe"](), seen["probe"]()]
    rates.append(seen["rates"])
    expected = training_time(seen["spec"], seen["asked"], best(rates), seen["rows"])
    return {
        "measured_s": seconds[-1] - seconds[SKIP - 1],
        "planned_s": expected.training_s,
        "tokens": steps[-1]["tokens"] - steps[SKIP - 1]["tokens"],
        "parts": dict(expected.parts),
        "share": [one.share for one in rates],
    }


def planned(plan: Any, model: str) -> dict[str, Any]:
    """The rows and settings of the steps that are timed, and what this machine reaches before the run."""
    from weightwright.address.models import parse_model
    from weightwright.data.pack import rows_of_step
    from weightwright.hub.store import locate
    from weightwright.plan.rates import probed, shapes_of
    from weightwright.plan.spec import from_file
    from weightwright.tune.examples import Examples
    from weightwright.tune.lengths import rows_of
    from weightwright.tune.memory import plan_settings

    path = locate(parse_model(model))
    assert path is not None
    spec, count = from_file(path), len(plan.examples)
    order = [
        rows_of_step(n, rows=count, epochs=1, batch=plan.batch, seed=plan.settings.seed)
        for n in range(SKIP, STEPS)
    ]
    rows = rows_of(Examples(plan.examples[n] for numbers in order for n in numbers))
    asked = plan_settings(plan.settings, longest=max(map(max, rows.examples)))
    shapes = shapes_of(spec, asked, rows)
    return {
        "spec": spec, "asked": asked, "rows": rows, "rates": probed(shapes), "probe": lambda: probed(shapes)
    }  # fmt: skip


def settings_of(model: str, values: list[dict[str, str]], options: dict[str, Any], folder: Path) -> Any:
    """A run of a few steps over the first rows."""
    from weightwright.tune.settings import TuneSettings

    full, batch = options.pop("full_rows", 0), options.setdefault("batch", 8)
    rows: list[dict[str, str]] = values[: STEPS * batch]
    if full:
        words = " ".join(value["output"] for value in values).split()
        rows = [{"text": " ".join(words[n * full : (n + 1) * full])} for n in range(STEPS * batch)]
        options["objective"] = "pretrain"
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return TuneSettings.model_validate({
        "model": model, "data": folder / "rows.json", "out": folder / "run", "max_length": full or 512,
        "too_long": "truncate", "precision": "auto" if options.get("method") == "full" else "bf16",
        "device": "cpu", "gradient_checkpointing": False, "save_every": 1000, **options,
    })  # fmt: skip


def best(rates: list[Any]) -> Any:
    """The better of each rate: other work can only lower it."""
    from weightwright.machine.rates import Rates

    kept = {one.name: [getattr(rate, one.name) for rate in rates] for one in fields(Rates)}
    return Rates(**{name: min(given) if name == "call_s" else max(given) for name, given in kept.items()})


if __name__ == "__main__":
    main()
