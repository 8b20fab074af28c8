"""int8 products of few rows, where reading the weight is all the work: faster than oneDNN's, and the same bits.

The kernel reads the memory that oneDNN packed the weight into, so it costs none. Where the layout is another, or
the CPU lacks AVX512-VNNI, there is no kernel: it is tried on a small product first.
"""

import ctypes
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.kernels import pool
from weightwright.kernels.pool import Kernel, kept, threads
from weightwright.kernels.route import Route
from weightwright.machine.cpu import features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

log = logging.getLogger(__name__)

MOST_ROWS = 8  # from here on products are bound by arithmetic
_OUTPUTS = 64  # of a group in oneDNN's layout
_INPUTS = 16  # the inputs are a multiple of it
_MOST_INPUTS = 1 << 16  # 255 · 127 · inputs stays below 2^31
_UNSIGNED = 128  # what makes an unsigned code of a signed one


class Skinny:
    """One weight [outputs, inputs] as oneDNN packed it, with what unsigned codes add to each output."""

    def __init__(self, packed: "Tensor", outputs: int, inputs: int) -> None:
        import torch

        self._packed = packed  # owns the memory
        self._address = _address(packed)
        self._outputs, self._inputs = outputs, inputs
        self._added = torch.zeros(outputs, dtype=torch.int32)
        ones = self(torch.ones(1, inputs, dtype=torch.uint8), torch.ones(outputs))
        self._added = ones[0].to(torch.int32).mul_(_UNSIGNED)  # 127 · inputs is exact in f32

    def __call__(
        self, codes: "Tensor", scale: "Tensor", row_scale: "Tensor | None" = None, out: "Tensor | None" = None
    ) -> "Tensor":
        """(codes - offset) W^T · scale: codes [n, inputs] s8 or u8 (offset 0 or 128), scale [outputs] f32 -> f32.

        Each row is multiplied by its `row_scale` [n] f32 where it is given, and put into `out` [n, outputs].
        """
        import torch

        n = codes.shape[0]
        if codes.dtype == torch.int8:
            codes = codes.bitwise_xor(-_UNSIGNED).view(torch.uint8)
        out = torch.empty(n, self._outputs) if out is None else out
        _kernel("product")(
            threads() if self._outputs > _OUTPUTS else 1, n, self._inputs, self._outputs, codes.data_ptr(),
            self._address, self._added.data_ptr(), scale.data_ptr(),
            0 if row_scale is None else row_scale.data_ptr(), out.data_ptr(),
        )  # fmt: skip
        return out


class Several:
    """Several weights of one shape, each for its own rows; `scales` [outputs] f32 one for each."""

    def __init__(self, weights: "Sequence[Skinny]", scales: "Sequence[Tensor]") -> None:
        import torch

        self._kept = list(weights), list(scales)  # they own the memory
        self._table = torch.tensor([
            (one._address, one._added.data_ptr(), scale.data_ptr())
            for one, scale in zip(weights, scales, strict=True)
        ])  # fmt: skip

    def __call__(self, codes: "Tensor", route: Route) -> "Tensor":
        """(codes - offset) W^T · scale, f32 [n, outputs]: codes [n, inputs] s8 or u8 in the order of the route."""
        import torch

        first = self._kept[0][0]
        if codes.dtype == torch.int8:
            codes = codes.bitwise_xor(-_UNSIGNED).view(torch.uint8)
        out = torch.empty(len(codes), first._outputs)
        _kernel("several")(
            threads(), len(self._table), first._inputs, first._outputs, self._table.data_ptr(),
            route.starts.data_ptr(), route.active.data_ptr(), codes.data_ptr(), out.data_ptr(),
        )  # fmt: skip
        return out


def skinny(packed: "Tensor", outputs: int, inputs: int) -> Skinny | None:
    """The product of a weight that `qlinear_prepack` made, or None where there is no kernel for it."""
    if inputs % _INPUTS or inputs > _MOST_INPUTS or not supported():
        return None
    return Skinny(packed, outputs, inputs)


@functools.cache
def supported() -> bool:
    """Whether the kernel runs here and oneDNN packs as it expects."""
    if not pool.available() or _data_pointer() is None:
        return False
    if "avx512_vnni" not in features():
        return False
    import torch

    outputs, inputs = 3 * _OUTPUTS + 8, 5 * _INPUTS
    weight = (torch.arange(outputs * inputs).view(outputs, inputs) * 37 % 255 - 127).to(torch.int8)
    codes = (torch.arange(5 * inputs).view(5, inputs) * 53 % 256).to(torch.uint8)
    product = Skinny(torch.ops.onednn.qlinear_prepack(weight, [1, inputs]), outputs, inputs)
    exact = (codes.double() - _UNSIGNED) @ weight.double().T
    if torch.equal(product(codes, torch.ones(outputs)).double(), exact):
        return True
    log.info("oneDNN packs int8 weights in another way here: its own products are used for few rows, too")
    return False


@functools.cache
def _kernel(name: str) -> Kernel:
    with kept():
        from weightwright.kernels import skinny_numba

    return Kernel(getattr(skinny_numba, name))


@functools.cache
def _data_pointer() -> Any:
    """Torch's C function that tells where a tensor's memory is, packed ones too; None where it is missing."""
    import torch

    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.so")):
        function = getattr(ctypes.CDLL(str(path)), "aoti_torch_get_data_ptr", None)
        if function is not None:
            function.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
            function.restype = ctypes.c_int32
            return function
    return None


def _address(packed: "Tensor") -> int:
    """Where a packed tensor's memory begins."""
    handle, pointer = ctypes.c_void_p(packed._cdata), ctypes.c_void_p()  # a C++ tensor is one pointer
    if _data_pointer()(ctypes.addressof(handle), ctypes.byref(pointer)) or not pointer.value:
        raise RuntimeError("torch does not tell where a packed weight lies")
    return pointer.value
