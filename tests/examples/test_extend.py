"""The examples of parts of one's own keep their contracts, run as an outsider would run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "extend").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_keeps_its_contract(example: Path, tmp_path: Path) -> None:
    """In a process of its own: what it registers stays there."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(example)]
    path = os.pathsep.join([str(example.parent), *sys.path])
    shown = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert " passed" in shown.stdout
