"""What every result file says: a table, the machine, the versions; least, median and most of what was measured."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "results"


def write_results(name: str, *sections: object, file: Path | None = None) -> str:
    """Write Markdown sections to bench/results/NAME.md (or to `file`) and print them."""
    text = "\n\n".join(map(str, sections)).rstrip("\n") + "\n"
    (file or RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text, flush=True)
    return text


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Least, median and most."""
    return " / ".join(f"{x:.{digits}f}" for x in (min(values), statistics.median(values), max(values)))


class Table:
    """A Markdown table; numbers are shown with three digits after the point."""

    def __init__(self, *names: str) -> None:
        self._rows = [names, tuple("---" for _ in names)]

    def row(self, *values: object) -> None:
        """Add a row."""
        self._rows.append(tuple(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values))

    def __str__(self) -> str:
        return "\n".join("| " + " | ".join(row) + " |" for row in self._rows)


def machine() -> str:
    """CPU model, cores, and what of its instruction set matters here."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{platform.processor() or platform.machine()}"
    lines = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(fields.get("flags", "").split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in flags]
    name, cores = fields.get("model name", platform.machine()), os.cpu_count()
    return f"{name}, {cores} cores ({', '.join(known)})"


def versions() -> str:
    """The versions that a figure depends on."""
    names = ("weightwright", "torch", "transformers", "peft", "sentence-transformers")
    return "Python " + platform.python_version() + ", " + ", ".join(f"{n} {version(n)}" for n in names)
