"""A fresh process for each case, and the most memory that it held."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from weightwright.machine import peak

OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def fresh(command: Sequence[object], environment: Mapping[str, str] | None = None) -> str:
    """What a command prints in a process of its own; ends the script with its last words where it fails."""
    words = [*map(str, command)]
    ran = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | OFFLINE | dict(environment or {})
    )
    if ran.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{ran.stderr[-3000:]}")
    return ran.stdout


def fresh_python(*arguments: object, environment: Mapping[str, str] | None = None) -> str:
    """The same of this Python."""
    return fresh([sys.executable, *arguments], environment)


def last_json(printed: str) -> Any:
    """The JSON of the last line that was printed."""
    return json.loads(printed.splitlines()[-1])


def peak_bytes() -> int:
    """The most memory that this process has held, with everything that Python and its packages take."""
    held = peak.peak_bytes()
    if held is None:
        raise SystemExit("this system does not tell a process's peak (VmHWM of /proc/self/status)")
    return held
