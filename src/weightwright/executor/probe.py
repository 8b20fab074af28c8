"""Which kernels torch has on this CPU and which of them are exact: found by trying, never assumed."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightwright.errors import SettingsError
from weightwright.weights.quantize import INT8_LEVELS

FORMS = ("f32", "bf16", "int8", "int4")
PACK_ROWS = 8  # the number of rows named to oneDNN at packing; its layout is the same for 1 to 512

_HALF_LEVELS = 63  # 2 · 255 · 63 fits 16 bits: exact where two products are added in 16 bits (no VNNI)
_PROBE_SHAPE = (256, 256)
_PROBE_ROUNDS = 5
_NEARLY = 1.5  # how much slower a kernel for 8-bit weights may be than one for 7


@dataclass(frozen=True, slots=True)
class Int8Kernel:
    """How int8 products are exact and fast here: the activations' offset, a weight's largest magnitude."""

    offset: int
    levels: int


def supported(form: str) -> bool:
    """Whether this torch on this CPU can run the form."""
    if form == "int8":
        return _int8_kernel() is not None
    if form == "int4":
        return _has("aten", "_convert_weight_to_int4pack_for_cpu", "_weight_int4pack_mm_for_cpu")
    return form in FORMS


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
    if not (torch.backends.mkldnn.is_available() and _has("onednn", "qlinear_prepack", "qlinear_pointwise")):
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread waits for its turn on a busy machine, and hides the difference
    try:
        tried = {
            Int8Kernel(offset, levels): _try_int8(offset, levels)
            for levels in (INT8_LEVELS, _HALF_LEVELS)
            for offset in (128, 0)
        }
    finally:
        torch.set_num_threads(threads)
    return pick_kernel(tried)


def pick_kernel(tried: dict[Int8Kernel, float | None]) -> Int8Kernel | None:
    """The fastest of the exact kernels, but one with 8-bit weights where it is nearly as fast.

    `tried` has seconds, or None for one that is refused or wrong.
    """
    seconds = {kernel: taken for kernel, taken in tried.items() if taken is not None}
    if not seconds:
        return None
    limit = _NEARLY * min(seconds.values())
    return max(
        (kernel for kernel, taken in seconds.items() if taken <= limit),
        key=lambda kernel: (kernel.levels, -seconds[kernel]),
    )


def _try_int8(offset: int, levels: int) -> float | None:
    """The time of a small product in seconds, at best; None where it is refused or wrong."""
    outputs, inputs = _PROBE_SHAPE
    q = (torch.arange(outputs * inputs).view(outputs, inputs) * 37 % (2 * levels + 1) - levels).to(torch.int8)
    q[0], q[1] = levels, -levels  # the largest sums
    x = torch.arange(4 * inputs).view(4, inputs) * 53 % 255 - 127
    x[0] = 127
    xq = (x + offset).to(torch.uint8 if offset else torch.int8)
    ones, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
    try:
        packed = torch.ops.onednn.qlinear_prepack(q, [PACK_ROWS, inputs])

        def run() -> Tensor:
            return qlinear(xq, offset, (packed, ones, zeros))

        if not torch.equal(run().double(), x.double() @ q.double().T):
            return None
    except (RuntimeError, NotImplementedError):  # what torch raises where oneDNN has no such kernel
        return None
    return fastest_s(run, _PROBE_ROUNDS)


def qlinear(xq: Tensor, offset: int, weight: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The int8 product: codes [n, in] and a weight (packed, scales f32, zeros i32) -> [n, out] f32."""
    packed, scales, zeros = weight
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        xq, 1.0, offset, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return out


def fastest_s(run: Callable[[], Any], rounds: int) -> float:
    """The shortest of several runs, in seconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


@functools.cache
def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed linear of this torch takes the dtype on this CPU."""
    if not (
        torch.backends.mkldnn.is_available() and _has("mkldnn", "_reorder_linear_weight", "_linear_pointwise")
    ):
        return False
    x = torch.ones(2, 16, dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.ones(16, 16, dtype=dtype), PACK_ROWS)
        out = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    except (RuntimeError, NotImplementedError):
        return False
    return bool((out == 16).all())


def _has(namespace: str, *names: str) -> bool:
    """Whether torch has the operators."""
    return all(hasattr(getattr(torch.ops, namespace), name) for name in names)
