"""Memory of a device that nobody has taken."""

from weightwright.machine.device import DEVICES


def free_bytes(device: str) -> int:
    """Memory of this device that nobody has taken."""
    import torch

    kind = device.partition(":")[0]
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if kind in DEVICES:
        return int(getattr(torch, kind).mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
