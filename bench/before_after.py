"""Another version of this repository beside this one: decoding, serving and tuning, in turn, in one process tree.

    git worktree add ../before COMMIT
    python bench/before_after.py --before ../before --model DIR --data ../shared/data/tune [--rounds 3]

Each version runs its own `bench/engines/ours.py`, `ours_load.py` and `bench/trainers/ours.py` with its own source,
after one run that compiles its kernels. Decode: 64-token prompts, 64 new tokens. Serving: requests from instruction
data, all at once. Tuning: LoRA of rank 8 on all linear layers, bf16, three steps of 16 Alpaca rows. Writes
bench/results/before_after.md.
"""

import argparse
import json
import statistics
import tempfile
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serving
from harness.process import fresh_python, last_json
from harness.report import Table, machine, spread, versions, write_results

HERE = Path(__file__).resolve().parents[1]
STEPS, BATCH = 3, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the other version")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of instruction data")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    figures: dict[str, dict[Path, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        jobs = prepared(args, Path(folder))
        for turn in range(args.rounds + 1):
            for tree in (args.before.resolve(), HERE):
                for name, value in measured(tree, args, jobs):
                    print(turn, tree.name, name, f"{value:.1f}", flush=True)
                    if turn:  # the first compiles
                        figures[name][tree].append(value)
            if turn:
                report(figures, args)


def report(figures: dict[str, dict[Path, list[float]]], args: Namespace) -> None:
    """Write what was measured so far; a figure that only one version has yet is left out."""
    table = Table("what", "before: min / median / max", "after", "after / before")
    for name, of in figures.items():
        before, after = of[args.before.resolve()], of[HERE]
        if before and after:
            ratio = statistics.median(after) / statistics.median(before)
            table.row(name, spread(before), spread(after), f"{ratio:.2f}")
    taken = sorted(len(values) for of in figures.values() for values in of.values())
    about = f"{taken[0]} to {taken[-1]} rounds in turn, a process for each. {Path(args.model).name}."
    write_results("before_after", "# Before and after", about, f"{machine()}; {versions()}", table)


def prepared(args: Namespace, folder: Path) -> dict[str, Path]:
    """The jobs of serving and tuning as files."""
    asked = Namespace(
        model=str(args.model), data=args.data, files=["alpaca_en_demo", "alpaca_zh_demo"],
        requests=args.requests, shortest=8, longest=256, context=2048,
    )  # fmt: skip
    requests = serving.drawn(asked)
    load = {
        "model": str(args.model),
        "options": {
            "precision": "int8", "sequences": 64, "step_tokens": 512, "context": 2048, "share_prefixes": False,
        },
        "warmup": [request | {"tokens": 4} for request in requests[:32]],
        "rounds": [{"name": "all at once", "requests": requests}],
    }  # fmt: skip
    rows = folder / "rows.json"
    every = json.loads((args.data / "alpaca_en_demo.json").read_text(encoding="utf-8"))
    rows.write_text(json.dumps(every[: BATCH * STEPS]), encoding="utf-8")
    settings = {
        "model": str(args.model), "data": str(rows), "batch": BATCH, "precision": "bf16", "rank": 8,
        "max_length": 512, "too_long": "truncate", "device": "cpu", "gradient_checkpointing": False,
    }  # fmt: skip
    jobs = {"load": folder / "load.json", "tune": folder / "tune.json"}
    jobs["load"].write_text(json.dumps(load), encoding="utf-8")
    jobs["tune"].write_text(json.dumps({"settings": settings, "skip": 1}), encoding="utf-8")
    return jobs


def measured(tree: Path, args: Namespace, jobs: dict[str, Path]) -> Iterator[tuple[str, float]]:
    """Every figure of one version, once."""
    environment = {"PYTHONPATH": str(tree / "src")}

    def run(script: str, *arguments: object) -> list[Any]:
        printed = fresh_python(tree / "bench" / script, *arguments, environment=environment)
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

    for precision in ("int8", "bf16"):
        start, *rates = run("engines/ours.py", args.model, precision, 3)
        yield f"start-up s, {precision}", start["startup_s"]
        for rate in rates:
            yield (
                f"decode tokens/s, {precision}, {rate['sequences']} sequences",
                statistics.median(rate["decode"]),
            )
        yield f"prefill tokens/s, {precision}", rates[-1]["prefill"]
    served = next(line for line in run("engines/ours_load.py", jobs["load"]) if "new_tokens" in line)
    yield f"serving, {args.requests} requests at once: new tokens/s", served["new_tokens"] / served["seconds"]
    with tempfile.TemporaryDirectory() as out:
        job = json.loads(jobs["tune"].read_text(encoding="utf-8"))
        job["settings"]["out"] = f"{out}/run"
        file = Path(out) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        trained = last_json(fresh_python(tree / "bench/trainers/ours.py", file, environment=environment))
    yield "LoRA tokens/s", trained["tokens_per_s"]
    yield "LoRA peak GB", trained["peak_bytes"] / 1e9


if __name__ == "__main__":
    main()
