"""Why a kind of device cannot be used here, and what to install: for refusals and for `weightwright doctor`."""

import os
import platform
import shutil
from pathlib import Path

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_INDEX = "https://download.pytorch.org/whl"
_BUILDS = "https://pytorch.org/get-started/locally"  # lists the command for each build of torch


def why_absent(kind: str) -> str:
    """One clause: what torch lacks for a `cuda`, `mps` or `xpu` device, and the way to it."""
    return {"cuda": _cuda, "mps": _mps, "xpu": _xpu}[kind]()


def unused() -> list[str]:
    """The kinds of device that this machine seems to have and torch cannot use."""
    import torch

    found = []
    if _has_nvidia() and not torch.cuda.is_available():
        found.append("cuda")
    if (platform.system(), platform.machine()) == (
        "Darwin",
        "arm64",
    ) and not torch.backends.mps.is_available():
        found.append("mps")
    return found


def _cuda() -> str:
    import torch

    if not (torch.version.cuda or torch.version.hip):
        return (
            f"torch {torch.__version__} is built without CUDA; install the build for your card with the command that "
            f"{_BUILDS} gives (its index is {_INDEX}/cu130 or another release, /rocm7.1 for AMD)"
        )
    if torch.version.hip:
        return "torch, which is built for ROCm, sees no card; rocminfo says whether the driver does"
    if not _has_nvidia():
        return (
            "there is no NVIDIA driver; install it from your system's packages, or in a container start it with "
            "--gpus all"
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    cause = f"CUDA_VISIBLE_DEVICES={hidden!r} hides cards" if hidden is not None else "nvidia-smi says why"
    return f"torch, built for CUDA {torch.version.cuda}, sees no card; {cause} (an older driver needs another build)"


def _mps() -> str:
    if platform.system() != "Darwin":
        return f"MPS is macOS's on Apple silicon, and this is {platform.system()}"
    if platform.machine() != "arm64":
        return f"MPS needs Apple silicon and a Python for it, and this one is for {platform.machine()}"
    return f"MPS needs macOS 14 or newer, and this is {platform.mac_ver()[0]}"


def _xpu() -> str:
    import torch

    if not torch.xpu._is_compiled():
        return (
            f"torch {torch.__version__} is built without XPU; install the build for Intel cards: pip install torch "
            f"--index-url {_INDEX}/xpu"
        )
    return (
        "torch sees no Intel card; install Intel's compute runtime (Level Zero), put your user into the group "
        "render, and where oneAPI is installed run `source /opt/intel/oneapi/setvars.sh` first"
    )


def _has_nvidia() -> bool:
    return _NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None
