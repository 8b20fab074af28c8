"""Nothing in the core is specific to Linux: modules that other systems lack are hidden from the package."""

import subprocess
import sys
from pathlib import Path

import pytest

# refused to our own modules alone: other packages know by the system's name what they may import
HIDDEN = """
import builtins, sys
real = builtins.__import__

def hidden(name, globals=None, *rest, **more):
    ours = str((globals or {}).get("__name__")).startswith("weightwright")
    if ours and name in ("readline", "fcntl", "resource", "termios"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, globals, *rest, **more)

builtins.__import__ = hidden
"""
EVERY_MODULE = """
import importlib, pkgutil, weightwright
for module in pkgutil.walk_packages(weightwright.__path__, "weightwright."):
    if not module.name.endswith(("_numba", "__main__")):  # compiled when imported, for threads of Linux's torch; runs
        importlib.import_module(module.name)
        print(module.name)
"""
VERBS = """
from weightwright.cli.app import main
assert main(["kb", "add", "kb.db", "garden.txt"]) == 0
assert main(["ask", "kb.db", "What is the gardener's name?", "--model", "extract"]) == 0
assert main(["chat", sys.argv[1], "--precision", "f32", "--max-tokens", "3"]) == 0
from pathlib import Path
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings
Path("rows.jsonl").write_text('{"question": "Who?", "answer": "Ottilie"}\\n' * 4)
settings = {"model": sys.argv[1], "data": "rows.jsonl", "out": "run", "rank": 1, "max_steps": 1, "precision": "f32"}
assert tune(TuneSettings(**settings)).peak_bytes >= 0
"""


def run(script: str, *arguments: str, cwd: Path, stdin: str = "") -> str:
    command = [sys.executable, "-c", HIDDEN + script, *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, input=stdin)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    imported = run(EVERY_MODULE, cwd=tmp_path).split()
    assert {"weightwright.cli.chat", "weightwright.tune.run", "weightwright.testing.store"} <= set(imported)


@pytest.mark.model
def test_documents_are_added_and_asked_and_a_model_is_chatted_with_and_tuned(
    tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "garden.txt").write_text(
        "The garden opens at six. The gardener's name is Ottilie.", encoding="utf-8"
    )
    assert "Ottilie" in run(VERBS, str(tiny_model), cwd=tmp_path, stdin="Hello\n")
