"""int8 products by oneDNN: which of its kernels is exact and fast on this CPU, found by trying, never assumed."""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from weightwright.errors import SettingsError

T = TypeVar("T")

INT8_LEVELS = 127
PACK_ROWS = 8  # the number of rows named to oneDNN at packing; its layout is the same for 1 to 512

_HALF_LEVELS = 63  # 2 · 255 · 63 fits 16 bits: exact where two products are added in 16 bits (no VNNI)
_PROBE_SHAPE = (256, 256)
_ROUNDS, _ROUNDS_FOR_ALL = 40, 3  # of the probe: turns, and turns that each kernel gets
_FAR_BEHIND = 30.0  # times the best: reference loops are 200 times slower, three disturbed turns were 8 times
_NEARLY = 1.5  # how much slower a kernel for 8-bit weights may be than one for 7


@dataclass(frozen=True, slots=True)
class Int8Kernel:
    """How int8 products are exact and fast here: the activations' offset, a weight's largest magnitude."""

    offset: int
    levels: int


def int8_supported() -> bool:
    """Whether this torch on this CPU has int8 products."""
    return _int8_kernel() is not None


def int8_kernel() -> Int8Kernel:
    """The int8 kernel of this CPU, found by trying. Raises SettingsError where there is none."""
    kernel = _int8_kernel()
    if kernel is None:
        raise SettingsError("precision int8 needs oneDNN's int8 products, which this build of torch lacks; "
                            "use --precision bf16 or f32")  # fmt: skip
    return kernel


@functools.cache
def _int8_kernel() -> Int8Kernel | None:
    """Try both kinds of activations, with weights of 8 and of 7 bits, and keep the fastest that is exact.

    Signed activations run on AMX but fall to a reference loop on other CPUs (700 times slower); without VNNI
    pairs of products are added in 16 bits, which overflow silently for 8-bit weights. Takes milliseconds.
    """
    if not (
        torch.backends.mkldnn.is_available()
        and has_operators("onednn", "qlinear_prepack", "qlinear_pointwise")
    ):
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread waits for its turn on a busy machine, and hides the difference
    try:
        kernels = [
            Int8Kernel(offset, levels) for levels in (INT8_LEVELS, _HALF_LEVELS) for offset in (128, 0)
        ]
        return pick_kernel(raced({kernel: run for kernel in kernels if (run := _exact(kernel)) is not None}))
    finally:
        torch.set_num_threads(threads)


def raced(runs: Mapping[T, Callable[[], Any]], rounds: int = _ROUNDS) -> dict[T, float]:
    """The shortest seconds of each of several runs that take turns, so that other work meets all of them.

    One that is far behind after a few turns takes no more.
    """
    best_s = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds):
        limit_s = _FAR_BEHIND * min(best_s.values(), default=0.0) if turn >= _ROUNDS_FOR_ALL else float("inf")
        for name, run in runs.items():
            if best_s[name] <= limit_s:
                start_s = time.perf_counter()
                run()
                best_s[name] = min(best_s[name], time.perf_counter() - start_s)
    return best_s


def pick_kernel(seconds: Mapping[Int8Kernel, float]) -> Int8Kernel | None:
    """The fastest of the exact kernels, but one with 8-bit weights where it is nearly as fast."""
    if not seconds:
        return None
    limit = _NEARLY * min(seconds.values())
    return max(
        (kernel for kernel, taken in seconds.items() if taken <= limit),
        key=lambda kernel: (kernel.levels, -seconds[kernel]),
    )


def _exact(kernel: Int8Kernel) -> Callable[[], Tensor] | None:
    """A small product to time; None where it is refused or wrong."""
    outputs, inputs = _PROBE_SHAPE
    levels = kernel.levels
    q = (torch.arange(outputs * inputs).view(outputs, inputs) * 37 % (2 * levels + 1) - levels).to(torch.int8)
    q[0], q[1] = levels, -levels  # the largest sums
    x = torch.arange(4 * inputs).view(4, inputs) * 53 % 255 - 127
    x[0] = 127
    xq = (x + kernel.offset).to(torch.uint8 if kernel.offset else torch.int8)
    ones, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
    try:
        packed = torch.ops.onednn.qlinear_prepack(q, [PACK_ROWS, inputs])

        def run() -> Tensor:
            return qlinear(xq, kernel.offset, (packed, ones, zeros))

        return run if torch.equal(run().double(), x.double() @ q.double().T) else None
    except (RuntimeError, NotImplementedError):  # what torch raises where oneDNN has no such kernel
        return None


def qlinear(
    xq: Tensor, offset: int, weight: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype = torch.float32
) -> Tensor:
    """The int8 product: codes [n, in] and a weight (packed, scales f32, zeros i32) -> [n, out] of `dtype`."""
    packed, scales, zeros = weight
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        xq, 1.0, offset, packed, scales, zeros, None, 1.0, 0, dtype, "none", [], ""
    )
    return out


def has_operators(namespace: str, *names: str) -> bool:
    """Whether torch has the operators."""
    return all(hasattr(getattr(torch.ops, namespace), name) for name in names)
