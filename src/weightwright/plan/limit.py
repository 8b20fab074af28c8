"""The memory that a task has to fit into: what was said, or what is free on the device now."""

import shutil
import subprocess
from dataclasses import dataclass

from weightwright.errors import SettingsError
from weightwright.plan.settings import PlanSettings


@dataclass(frozen=True, slots=True)
class Limit:
    """Bytes to fit into; `total_bytes` is all that the device has, None where the limit was said and not found."""

    bytes: int
    total_bytes: int | None = None


def limit_of(settings: PlanSettings) -> Limit:
    """What was said, else what is free. Raises SettingsError where a card neither answers nor was described."""
    if settings.device_bytes is not None:
        return Limit(settings.device_bytes)
    if settings.on_cpu or settings.device == "mps":  # Apple's GPUs share the machine's memory
        return machine()
    limit = card() if settings.device == "cuda" else None
    if limit is None:
        raise SettingsError(
            f"device={settings.device}: no such card answers here; say how much memory it has: --device-memory 24GB"
        )
    return limit


def machine() -> Limit:
    """The machine's memory, or the container's."""
    from weightwright.machine.memory import main_memory

    memory = main_memory()
    return Limit(memory.free_bytes, memory.total_bytes)


def card() -> Limit | None:
    """Memory of the first NVIDIA card, as its driver's own tool says it; None where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        free, total = (int(one) * 1024**2 for one in shown.stdout.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # a tool without a driver
        return None
    return Limit(free, total)
