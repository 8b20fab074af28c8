"""Passes that run again without Python: their kernels are recorded once, then go one after the other in one go.

It is what CUDA graphs are for a GPU: a pass over a few rows takes as long to launch as to compute. What is recorded
must be kernels alone; an operator of torch's among them is noticed, and the recording says so and is of no use.
"""

import ctypes
import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from weightwright.kernels import pool
from weightwright.kernels.pool import Kernel, kept

_LINE = 64  # bytes
_CHUNK = 1 << 20
_ENTRY = 3  # numbers that stand for one kernel: its address, its arguments' and its threads


class Room:
    """Memory for what a pass makes on its way, good until the second `turn` behind it: shared by all programs."""

    def __init__(self) -> None:
        self._halves: list[list[Tensor]] = [[], []]
        self._half = self._chunk = self._used = 0

    def turn(self) -> None:
        """Begin a new part of the pass, which may still read what the part before it made."""
        self._half, self._chunk, self._used = 1 - self._half, 0, 0

    def take(self, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An empty tensor."""
        count = math.prod(size) * dtype.itemsize
        chunks = self._halves[self._half]
        while self._chunk < len(chunks) and self._used + count > len(chunks[self._chunk]):
            self._chunk, self._used = self._chunk + 1, 0
        if self._chunk == len(chunks):
            chunks.append(torch.empty(max(_CHUNK, count), dtype=torch.uint8))
        start = self._used
        self._used += count + -count % _LINE
        return chunks[self._chunk][start : start + count].view(dtype).view(size)


class Recording(TorchDispatchMode):  # type: ignore[misc]
    """While it is entered, kernels run and are noted; new tensors come from `room`.

    `foreign` names an operator that is no kernel and neither makes room nor a view, empty where there was none.
    """

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.foreign = ""
        self._room = room
        self._calls: list[tuple[int, Any, int]] = []
        self._owners: list[Any] = []  # of the memory that the kernels read and write

    def __enter__(self) -> "Recording":
        pool.set_recording(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        pool.set_recording(None)

    def add(self, kernel: Kernel, packed: Any, threads: int) -> None:
        """Note a kernel with its arguments."""
        self._calls.append((kernel.address, packed, threads))
        self._owners.append(kernel)

    def program(self) -> "Program":
        """What was recorded. Raises ValueError where something foreign was among it."""
        if self.foreign:
            raise ValueError(f"{self.foreign} is no kernel")
        return Program(self._calls, self._owners)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See TorchDispatchMode."""
        kwargs = kwargs or {}
        if func is torch.ops.aten.empty.memory_format:
            return self._room.take(tuple(args[0]), kwargs.get("dtype") or torch.get_default_dtype())
        if func is torch.ops.aten.empty_like.default:
            return self._room.take(tuple(args[0].shape), kwargs.get("dtype") or args[0].dtype)
        out = func(*args, **kwargs)  # the mode is off in here
        first = args[0] if args else None
        view = isinstance(out, Tensor) and isinstance(first, Tensor) and _memory(out) == _memory(first)
        if not view or func._schema.is_mutable:
            self.foreign = self.foreign or str(func)
        self._owners.append(out)
        return out


class Program:
    """Kernels to be run in order, each when all threads have ended the one before."""

    def __init__(self, calls: list[tuple[int, Any, int]], owners: list[Any]) -> None:
        self._owners = [owners, calls]
        self._threads = max((threads for _, _, threads in calls), default=1)
        flat = [n for address, packed, threads in calls for n in (address, ctypes.addressof(packed), threads)]
        for _, packed, _ in calls:
            packed[0] = packed[1] = 0
        self._arguments = len(calls), *flat

    def __call__(self) -> None:
        """Run it."""
        if self._arguments[0]:
            _chain()(self._threads, _barrier(), *self._arguments)


def prepare() -> None:
    """Compile what runs programs, so that no first step waits for it."""
    if pool.available():
        _chain()


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


@functools.cache
def _chain() -> Kernel:
    with kept():
        from weightwright.kernels import record_numba

    return Kernel(record_numba.chain)


@functools.cache
def _barrier() -> int:
    """The address of OpenMP's barrier."""
    return pool.entry("GOMP_barrier")
