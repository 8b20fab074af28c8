"""What must stay light, and what it must not import."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "gradio", "sentence_transformers", "scipy", "fastapi", "matplotlib")

LIGHT_MODULES = [
    "weightwright",
    "weightwright.cli.app",
    "weightwright.config",
    "weightwright.ports",
    "weightwright.connect",
    "weightwright.conversation",
    "weightwright.export.run",
    "weightwright.hub.models",
    "weightwright.kb",
    "weightwright.options",
    "weightwright.plan.run",
    "weightwright.address.models",
    "weightwright.data.grounded",
    "weightwright.data.formats",
    "weightwright.plan.params",
    "weightwright.plan.memory",
    "weightwright.engine.settings",
    "weightwright.serve.settings",
    "weightwright.tune.settings",
    "weightwright.rag.settings",
    "weightwright.compare.settings",
]


def imported(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return {name.split(".")[0] for name in shown.stderr.splitlines()}


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert imported(f"import {module}") & set(HEAVY[:4]) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["tune", "--help"], ["serve", "--help"], ["nope"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"from weightwright.cli.app import main\nmain({arguments!r})"
    assert imported(code) & set(HEAVY) == set()


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_waiting_threads_do_not_hold_the_cores(given: dict[str, str], spins: str) -> None:
    names = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    script = "import os, weightwright; print(os.environ.get('GOMP_SPINCOUNT'))"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert shown.stdout.strip() == spins
