"""Which device there is and which precision is fast on it: detected and measured, never assumed."""

import functools
import time
from dataclasses import dataclass
from typing import Literal

from weightwright.errors import SettingsError
from weightwright.machine import cpu
from weightwright.machine.absent import why_absent

DEVICES = ("cuda", "mps", "xpu")  # in order of preference, before cpu

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
        why = f": {why_absent(kind)}" if kind in present else ""
        raise SettingsError(f"device={name!r} is not on this machine{why}; here: {here}; or leave it at auto")
    return name


def accelerators() -> tuple[str, int]:
    """The kind of accelerator that torch sees, and how many; `cpu` and 0 where it sees none."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return (str(found.type), int(torch.accelerator.device_count())) if found is not None else ("cpu", 0)


def default_precision(device: str) -> Literal["f32", "bf16"]:
    """bf16 where the device computes it natively and it measured faster than f32, else f32."""
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "f32"
    if device != "cpu":
        return "bf16" if device.startswith("xpu") else "f32"
    if not cpu.native_bf16():
        return "f32"
    return measure().faster


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
