"""Where `make demo` spends its CPU seconds: both comparisons of examples/demo.py, phase by phase, in fresh processes.

    python bench/demo.py [--before TREE]      TREE: a checkout of another version, measured the same way

Each version has a WEIGHTWRIGHT_HOME and a cache of compiled kernels of its own, both empty, so this is what a new
user waits for after the installation. CPU seconds are those of the process and of the children it waited for. Writes
bench/results/demo.md.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
NOT_COUNTED = "tuning"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--child", nargs=2, metavar=("CONFIG", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(phases(*map(Path, args.child))))
        return
    from harness.report import Table, machine, versions, write_results

    trees = {"before": args.before.resolve()} if args.before else {}
    figures = {name: both(tree) for name, tree in (trees | {"now": HERE}).items()}
    table = Table("phase", *(f"{name}: CPU s / s" for name in figures))
    for phase in dict.fromkeys(phase for figure in figures.values() for phase in figure):
        table.row(
            phase, *("{:.1f} / {:.1f}".format(*figure.get(phase, (0.0, 0.0))) for figure in figures.values())
        )
    for title, leave_out in (("all", ""), (f"all but the {NOT_COUNTED} of the adapter", NOT_COUNTED)):
        sums = [
            [
                sum(each[i] for phase, each in figure.items() if not leave_out or leave_out not in phase)
                for i in (0, 1)
            ]
            for figure in figures.values()
        ]
        table.row(title, *(f"{cpu:.1f} / {wall:.1f}" for cpu, wall in sums))
    about = "Home and compiled kernels of each version empty at its start; installing is not counted."
    write_results("demo", "# `make demo`", about, f"{machine()}; {versions()}", table)


def both(tree: Path) -> dict[str, tuple[float, float]]:
    """CPU and wall seconds of each phase of the English and the Chinese comparison."""
    from harness.process import fresh_python, last_json

    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PYTHONPATH": str(tree / "src"), "WEIGHTWRIGHT_HOME": home, "NUMBA_CACHE_DIR": f"{home}/kernels",
        }  # fmt: skip
        for language in ("en", "zh"):
            config = tree / "examples" / "compare" / f"handbook.{language}.yaml"
            printed = fresh_python(__file__, "--child", config, f"{home}/{language}", environment=environment)
            for phase, values in last_json(printed).items():
                found[f"{language}: {phase}"] = tuple(values)
            print(tree.name, language, found, file=sys.stderr, flush=True)
    return found


def phases(config: Path, out: Path) -> dict[str, Any]:
    """Run one comparison; the seconds between its phases belong to the phase that follows."""
    from weightwright.ports import silent

    found: dict[str, list[float]] = {}
    last = [0.0, time.monotonic() - time.process_time()]

    def note(name: str) -> None:
        cpu, wall = sum(os.times()[:4]), time.monotonic()
        spent = found.setdefault(name, [0.0, 0.0])
        spent[0] += cpu - last[0]
        spent[1] += wall - last[1]
        last[:] = [cpu, wall]

    @contextmanager
    def bar(title: str) -> Iterator[Any]:
        note("between phases")
        yield silent
        note(title)

    os.chdir(config.parent)
    from weightwright import config as configuration
    from weightwright.cli import app  # noqa: F401 - what every command imports
    from weightwright.compare.run import compare
    from weightwright.compare.settings import CompareSettings

    settings = configuration.load(CompareSettings, section="compare", file=config, flags={("out",): out})
    note("start")
    compare(settings, bar=bar)
    note("report")
    return found


if __name__ == "__main__":
    main()
