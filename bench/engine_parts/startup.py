"""From the start of a process to the first token.

A fresh Python process loads the model with `precision="auto"` and answers one token; the clock starts before the
process does, so imports count. Three states of the machine: everything kept from an earlier start; compiled kernels
kept (they belong to the installation), but a fresh WEIGHTWRIGHT_HOME, so that `auto` is measured; nothing kept.
The files are in the system's cache. The parts are those of the middle run; "kernels" (compiling or loading them) is
inside the others, wherever one is first needed.
"""

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.report import Table, spread

from engine_parts.harness import fresh

NAMES = (
    "python",
    "imports",
    "load",
    "auto",
    "twin check",
    "pack",
    "rest of opening",
    "first token",
    "kernels",
)


def measure(options: argparse.Namespace) -> list[object]:
    table = Table("kept", "s to first token, min/median/max", "chosen", *NAMES)
    warm(options.model)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs: dict[str, list[dict]] = {"kernels and tunings": [], "kernels": [], "nothing": []}
        start(options.model, root / "home", root / "kernels")  # leaves kernels and tunings
        for turn in range(options.rounds):
            runs["kernels and tunings"].append(start(options.model, root / "home", root / "kernels"))
            runs["kernels"].append(start(options.model, root / f"home{turn}", root / "kernels"))
            runs["nothing"].append(start(options.model, root / f"empty{turn}", root / f"kernels{turn}"))
    for kept, found in runs.items():
        middle = sorted(found, key=lambda run: run["total"])[len(found) // 2]
        totals = [run["total"] for run in found]
        table.row(kept, spread(totals, 2), middle["form"], *(f"{middle[name]:.2f}" for name in NAMES))
    token = statistics.median(run["total"] for run in runs["kernels"])
    return [table, f"With the installation's kernels and a fresh home: {token:.1f} s."]


def warm(model: str) -> None:
    """Read the model's and the libraries' files once."""
    if Path(model).is_dir():
        for file in Path(model).iterdir():
            file.read_bytes()
    command = "import torch, transformers, numba, weightwright.llm"
    subprocess.run([sys.executable, "-c", command], check=True)


def start(model: str, home: Path, kernels: Path) -> dict:
    """One start; seconds of its parts."""
    environment = {"WEIGHTWRIGHT_HOME": str(home), "NUMBA_CACHE_DIR": str(kernels)}
    return fresh("startup", environment, model=model, began=time.time())


def child(model: str, began: float) -> dict:
    spent = dict.fromkeys(NAMES, 0.0)
    entered = time.time()
    spent["python"] = entered - began

    import torch  # noqa: F401
    import transformers  # noqa: F401

    from weightwright import LLM, SamplingParams
    from weightwright.engine import engine  # noqa: F401

    imported = time.time()
    spent["imports"] = imported - entered
    forms = listen(spent)
    llm = LLM(model, precision="auto")
    opened = time.time()
    named = ("load", "auto", "twin check", "pack")
    spent["rest of opening"] = opened - imported - sum(spent[name] for name in named)
    llm.generate({"prompt_token_ids": [1, 2, 3, 4, 5, 6, 7, 8]}, SamplingParams(max_tokens=1, temperature=0))
    ended = time.time()
    spent["first token"] = ended - opened
    llm.close()
    return {**spent, "total": ended - began, "form": forms[0]}


def listen(spent: dict[str, float]) -> list[str]:
    """Add up the seconds of the parts of a start; the list gets what `auto` chose."""
    from weightwright.executor import fuse, precision
    from weightwright.kernels import attend, elementwise, pool
    from weightwright.weights import load

    forms: list[str] = []

    def timed(name: str, owner: Any, attribute: str) -> None:
        inner: Callable = getattr(owner, attribute)

        def run(*arguments: Any, **options: Any) -> Any:
            before = time.time()
            result = inner(*arguments, **options)
            spent[name] += time.time() - before
            if name == "auto":
                forms.append(str(result))
            return result

        setattr(owner, attribute, run)

    @contextmanager
    def kept() -> Iterator[None]:
        before = time.time()
        with pool.kept():
            yield
        spent["kernels"] += time.time() - before

    timed("load", load, "load")
    timed("auto", precision, "choose")
    timed("twin check", fuse, "fits")
    timed("pack", importlib.import_module("weightwright.executor.fuse").FusedDecoder, "_product")
    elementwise.kept = attend.kept = kept
    return forms
