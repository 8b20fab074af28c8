"""Memory that nobody has taken: of a device, of this machine, of the container that this process is in."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from weightwright.machine.device import DEVICES

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_FILES = {  # limit, what is taken, and what of that is files that can be read again, by cgroup version
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Memory(NamedTuple):
    """Bytes that nobody has taken, and all of them."""

    free_bytes: int
    total_bytes: int


def free_bytes(device: str) -> int:
    """Memory of this device that nobody has taken."""
    import torch

    kind = device.partition(":")[0]
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if kind in DEVICES:
        return int(getattr(torch, kind).mem_get_info(device)[0])
    return main_memory().free_bytes


def main_memory() -> Memory:
    """The machine's memory, as far as this process may use it."""
    import psutil

    memory = psutil.virtual_memory()
    return within_groups(Memory(int(memory.available), int(memory.total)))


def within_groups(memory: Memory, groups: Path = _GROUPS, own: Path = _OWN) -> Memory:
    """The least of `memory` and what each cgroup leaves that this process is in, a container's limit for example.

    Files in memory that were not used lately are free: the kernel gives them up before it kills (as `docker stats`
    and Kubernetes' working set count them). Limits of all groups around a process hold (Linux,
    admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst).
    """
    free, total = memory
    for folder, version in _groups_of(groups, own):
        limit_file, taken_file, reclaimable = _FILES[version]
        try:
            limit, taken = (int((folder / name).read_text()) for name in (limit_file, taken_file))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file at the root, "max" without a limit
            continue
        taken = max(0, taken - int(stat.get(reclaimable, 0)))
        free, total = min(free, max(0, limit - taken)), min(total, limit)
    return Memory(free, total)


def _groups_of(groups: Path, own: Path) -> Iterator[tuple[Path, int]]:
    """The folders of the memory groups that this process is in, the innermost first, with their cgroup version."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, version = groups, 2
        elif "memory" in controllers.split(","):
            root, version = groups / "memory", 1
        else:
            continue
        # a container may see its own group as the root, under the path that it has outside
        parts = [part for part in PurePosixPath(path).parts[1:] if part != ".."]
        for count in range(len(parts), -1, -1):
            yield root.joinpath(*parts[:count]), version
