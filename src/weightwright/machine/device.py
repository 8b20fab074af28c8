"""Which device there is and which precision is fast on it: detected and measured, never assumed."""

import functools
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weightwright.errors import SettingsError

DEVICES = ("cuda", "mps", "xpu")  # in order of preference, before cpu

# CPU features that matter to matrix products, as the kernel names them
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
                "avx_vnni", "asimd", "asimddp", "i8mm", "bf16", "sve")  # fmt: skip
BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")

# the matrix product that decides: tokens x inputs x outputs, the shape of a small model's MLP
_PROBE = (32, 896, 4864)
_PROBE_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Speed:
    """What the probe's matrix product reached, in GFLOP/s, the best of several rounds."""

    f32_gflops: float
    bf16_gflops: float

    @property
    def faster(self) -> Literal["f32", "bf16"]:
        """The precision that was faster here."""
        return "bf16" if self.bf16_gflops > self.f32_gflops else "f32"


def pick_device(name: str = "auto") -> str:
    """`auto` becomes the best device there is; a named one is checked. Raises SettingsError if absent."""
    import torch

    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
    }
    if name == "auto":
        return next((device for device in DEVICES if present[device]), "cpu")
    kind = name.partition(":")[0]
    if not present.get(kind, False):
        here = ", ".join(device for device, there in present.items() if there)
        raise SettingsError(f"device={name!r} is not on this machine; here: {here}; or leave it at auto")
    return name


def default_precision(device: str) -> Literal["f32", "bf16"]:
    """bf16 where the device computes it natively and it measured faster than f32, else f32."""
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "f32"
    if device != "cpu":
        return "bf16" if device.startswith("xpu") else "f32"
    if not native_bf16():
        return "f32"
    return measure().faster


def cpu_features() -> tuple[str, ...]:
    """The features of CPU_FEATURES that this CPU has."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        words: set[str] = set()
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("flags", "features")):
                words = set(line.split(":", 1)[-1].split())
                break
        return tuple(feature for feature in CPU_FEATURES if feature in words)
    import torch

    known = torch.cpu.get_capabilities()
    return tuple(feature for feature in CPU_FEATURES if known.get(feature))


def native_bf16() -> bool:
    """Whether the CPU has instructions for bf16 products; without them bf16 is emulated and slow."""
    return any(feature in cpu_features() for feature in BF16_FEATURES)


def cpu_name() -> str:
    """The CPU's model name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[-1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def measure() -> Speed:
    """Time the probe in f32 and bf16 on this CPU, in turn; some ten milliseconds, once a process."""
    import torch

    rows, inputs, outputs = _PROBE
    flops = 2 * rows * inputs * outputs
    best: dict[torch.dtype, float] = {}
    operands = {
        dtype: (torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    with torch.inference_mode():
        for _ in range(_PROBE_ROUNDS):
            for dtype, (x, weight) in operands.items():
                start_s = time.perf_counter()
                torch.nn.functional.linear(x, weight)
                seconds = time.perf_counter() - start_s
                best[dtype] = min(seconds, best.get(dtype, seconds))
    return Speed(flops / best[torch.float32] / 1e9, flops / best[torch.bfloat16] / 1e9)
