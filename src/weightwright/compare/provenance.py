"""How it was measured: versions, machine, seeds and what went in."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import weightwright
from weightwright.compare.experiment import Bench

_PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "numpy", "scipy")


def provenance(bench: Bench) -> dict[str, Any]:
    """All that somebody needs to repeat or to doubt the measurement; `notes` are cautions for the report."""
    ground, adapter = bench.ground, bench.adapter
    return {
        "finished_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"weightwright": weightwright.__version__, "python": platform.python_version()}
        | {name: version for name in _PACKAGES if (version := _version(name))},
        "machine": f"{platform.system()} {platform.machine()}, {_cpu()}, {os.cpu_count()} CPUs",
        "model_fingerprint": bench.model,
        "adapter_fingerprint": adapter.fingerprint if adapter else None,
        "adapter": str(adapter.folder or adapter.name) if adapter else None,
        "knowledge_base": ground.version if ground else None,
        "embedder": ground.store.meta.embedder if ground else None,
        "documents": sum(1 for _ in ground.store.documents()) if ground else None,
        "seed": bench.settings.seed,
        "notes": [f"Not read: {s.path}: {s.reason}" for s in ground.skipped] if ground else [],
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor() or "unknown CPU")
