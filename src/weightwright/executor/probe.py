"""Which kernels torch has on this CPU and which of them are exact: found by trying, never assumed."""

import functools

import torch

from weightwright.kernels.int8 import PACK_ROWS, has_operators, int8_supported

FORMS = ("f32", "bf16", "int8", "int4")


def supported(form: str) -> bool:
    """Whether this torch on this CPU can run the form."""
    if form == "int8":
        return int8_supported()
    if form == "int4":
        return has_operators("aten", "_convert_weight_to_int4pack_for_cpu", "_weight_int4pack_mm_for_cpu")
    return form in FORMS


@functools.cache
def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed linear of this torch takes the dtype on this CPU."""
    known = has_operators("mkldnn", "_reorder_linear_weight", "_linear_pointwise")
    if not (known and torch.backends.mkldnn.is_available()):
        return False
    x = torch.ones(2, 16, dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.ones(16, 16, dtype=dtype), PACK_ROWS)
        out = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    except (RuntimeError, NotImplementedError):
        return False
    return bool((out == 16).all())
