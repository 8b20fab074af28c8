"""Peak memory of a stretch of work: the kernel's high-water mark, put back before each arm."""

import gc
from pathlib import Path

from weightwright.machine.heap import give_back

_PEAK = "VmHWM:"


def reset_peak() -> bool:
    """Put the high-water mark of this process back to what it holds now; False where that is not possible.

    Linux only: writing 5 to /proc/self/clear_refs (proc(5), "reset the peak resident set size").
    """
    gc.collect()
    give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """The most memory held since `reset_peak`; None where the kernel does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith(_PEAK)), None)
    return int(line.split()[1]) * 1024 if line else None
