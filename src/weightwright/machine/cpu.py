"""The CPU: its name, its features, and an older one that it acts as where WEIGHTWRIGHT_CPU names it."""

import functools
import os
import platform
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from weightwright.errors import SettingsError

VARIABLE = "WEIGHTWRIGHT_CPU"

# features that matter to matrix products, as the Linux kernel names them
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
            "avx_vnni", "asimd", "asimddp", "i8mm", "bf16", "sve")  # fmt: skip
BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True, slots=True)
class Level:
    """A CPU to act as: its features, and what keeps each library from using others."""

    features: frozenset[str]
    environment: dict[str, str]


def _level(features: str, *, onednn: str, aten: str, mkl: str, llvm: str, openblas: str) -> Level:
    names = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "NUMBA_CPU_NAME",
             "NUMBA_CPU_FEATURES", "OPENBLAS_CORETYPE")  # fmt: skip
    values = (onednn, aten, mkl, llvm, "", openblas)  # no features but those that LLVM knows of that CPU
    return Level(frozenset(features.split()), dict(zip(names, values, strict=True)))


LEVELS = {
    "avx2": _level(
        "avx2", onednn="AVX2", aten="avx2", mkl="AVX2", llvm="haswell", openblas="Haswell"
    ),
    "avx512": _level(
        "avx2 avx512f", onednn="AVX512_CORE", aten="avx512", mkl="AVX512", llvm="skylake-avx512", openblas="SkylakeX"
    ),
    "avx512_vnni": _level(
        "avx2 avx512f avx512_vnni",
        onednn="AVX512_CORE_VNNI", aten="avx512", mkl="AVX512_E1", llvm="cascadelake", openblas="SkylakeX",
    ),
}  # fmt: skip


def act_as(environment: MutableMapping[str, str]) -> None:
    """Hold the libraries to the CPU that WEIGHTWRIGHT_CPU names; before torch and numba are imported.

    Nothing is done for a name that `features` refuses.
    """
    level = LEVELS.get(environment.get(VARIABLE, ""))
    if level is not None and level.features <= set(own_features()):
        environment.update(level.environment)


def features() -> tuple[str, ...]:
    """The features of FEATURES that may be used: this CPU's, or those of the one that WEIGHTWRIGHT_CPU names.

    Raises SettingsError for a name that is none, or whose features this CPU lacks.
    """
    return _features(os.environ.get(VARIABLE, ""))


@functools.cache
def _features(name: str) -> tuple[str, ...]:
    here = own_features()
    if not name:
        return here
    level = LEVELS.get(name)
    if level is None:
        raise SettingsError(f"{VARIABLE}={name!r} is no CPU to act as; known: {', '.join(LEVELS)}")
    missing = sorted(level.features - set(here))
    if missing:
        raise SettingsError(f"{VARIABLE}={name} needs {' '.join(missing)}, which this CPU lacks; unset it")
    return tuple(feature for feature in here if feature in level.features)


def native_bf16() -> bool:
    """Whether there are instructions for bf16 products; without them bf16 is emulated and slow."""
    return any(feature in features() for feature in BF16_FEATURES)


@functools.cache
def own_features() -> tuple[str, ...]:
    """The features of FEATURES that this CPU has."""
    words = set(_cpuinfo("flags", "features").split())
    if not words:
        import torch

        words = {name for name, there in torch.cpu.get_capabilities().items() if there}
    return tuple(feature for feature in FEATURES if feature in words)


def name() -> str:
    """The CPU's model name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(*keys: str) -> str:
    """The first value of one of those keys that Linux tells; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[-1].strip() for line in lines if line.lower().startswith(keys)), "")
