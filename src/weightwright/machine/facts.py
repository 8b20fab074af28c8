"""What this machine has: for `weightwright doctor`. Facts only, and never a secret."""

import importlib
import importlib.metadata
import os
import re
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from weightwright.machine import absent, cpu, device, memory

_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def facts() -> dict[str, Any]:
    """CPU, memory, device, versions, extras, hub and disk, as one JSON-able mapping."""
    psutil: Any = importlib.import_module("psutil")
    main = memory.main_memory()
    chosen = device.pick_device("auto")
    return {
        "cpu": {
            "name": cpu.name(),
            "features": list(cpu.features()),
            "own_features": list(cpu.own_features()),
            "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
            "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "memory": {"total_bytes": main.total_bytes, "available_bytes": main.free_bytes},
        "device": {
            "chosen": chosen,
            "accelerators": _accelerators(),
            "unused": {kind: absent.why_absent(kind) for kind in absent.unused()},
        },
        "versions": {name: _version(name) for name in ("weightwright", "torch", "transformers", "peft")},
        "extras": extras(),
        "hub": hub_settings(os.environ),
        "fast": _fast(chosen),
    }


def extras() -> dict[str, dict[str, Any]]:
    """Each extra: whether all its packages are installed, and the command that installs it."""
    try:
        requirements = importlib.metadata.requires("weightwright") or []
        names = importlib.metadata.metadata("weightwright").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return {}  # run from a source folder that was never installed
    needs: dict[str, list[str]] = {name: [] for name in sorted(names)}
    for requirement in requirements:
        extra = _EXTRA.search(requirement)
        package = _NAME.match(requirement)
        if extra and package and extra[1] in needs:
            needs[extra[1]].append(package[0])
    return {
        name: {
            "installed": all(_version(package) for package in packages),
            "install": f"pip install 'weightwright[{name}]'",
        }
        for name, packages in needs.items()
    }


def hub_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Where models come from, and whether a token is set; never the token or a password."""
    from huggingface_hub import constants, get_token

    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all") or ""
    return {
        "endpoint": without_password(environment.get("HF_ENDPOINT") or constants.ENDPOINT),
        "token": "set" if get_token() else "not set",
        "proxy": without_password(proxy) or "not set",
        "offline": bool(constants.is_offline_mode()),
        "cache": str(constants.HF_HUB_CACHE),
    }


def without_password(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _accelerators() -> list[dict[str, Any]]:
    import torch

    kind, count = device.accelerators()
    if kind == "mps":  # which has neither a name nor memory of its own
        return [{"name": cpu.name(), "memory_bytes": torch.mps.recommended_max_memory()}]
    torch_of: Any = getattr(torch, kind)
    return [
        {
            "name": torch_of.get_device_name(i),
            "memory_bytes": torch_of.get_device_properties(i).total_memory,
        }
        for i in range(count)
    ]


def _fast(chosen: str) -> dict[str, Any]:
    """Which precision is fast here: measured on a CPU, known for a GPU."""
    import torch

    values: dict[str, Any] = {
        "precision": device.default_precision(chosen),
        "torch_threads": torch.get_num_threads(),
    }
    if chosen == "cpu":
        speed = device.measure()
        values |= {"f32_gflops": round(speed.f32_gflops, 1), "bf16_gflops": round(speed.bf16_gflops, 1),
                  "bf16_native": cpu.native_bf16()}  # fmt: skip
    return values


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
