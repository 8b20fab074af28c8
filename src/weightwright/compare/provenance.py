"""How it was measured: versions, machine, seeds and what went in."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import weightwright
from weightwright.compare.experiment import Experiment
from weightwright.machine import cpu

_PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "numpy", "scipy")


def provenance(experiment: Experiment) -> dict[str, Any]:
    """All that somebody needs to repeat or to doubt the measurement; `notes` are cautions for the report."""
    source, adapter = experiment.source, experiment.adapter
    return {
        "finished_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"weightwright": weightwright.__version__, "python": platform.python_version()}
        | {name: version for name in _PACKAGES if (version := _version(name))},
        "machine": f"{platform.system()} {platform.machine()}, {cpu.name()}, {os.cpu_count()} CPUs",
        "model_fingerprint": experiment.model,
        "adapter_fingerprint": adapter.fingerprint if adapter else None,
        "adapter": str(adapter.folder or adapter.name) if adapter else None,
        "knowledge_base": source.version if source else None,
        "embedder": source.store.meta.embedder if source else None,
        "documents": sum(1 for _ in source.store.documents()) if source else None,
        "seed": experiment.settings.seed,
        "notes": [f"Not read: {s.path}: {s.reason}" for s in source.skipped] if source else [],
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
