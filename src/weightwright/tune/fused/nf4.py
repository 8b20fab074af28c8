"""Weights out of their 4 bits, for as long as they are multiplied.

On a CPU they all go into one place, which is kept: fresh memory for each would be given out and taken back between
what a pass keeps, and leave holes there (0.2 GB of 2.9 for a model of 0.5B parameters).
"""

import ctypes
import threading
from typing import Any

import torch
from torch import Tensor

_INTO_PLACE = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class _Place(threading.local):
    """The kept memory of one thread."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)

    def of(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        size_bytes = shape.numel() * dtype.itemsize
        if len(self.memory) < size_bytes:
            self.memory = torch.empty(size_bytes, dtype=torch.uint8)
        return self.memory[:size_bytes].view(dtype).view(shape)


_place = _Place()


def unpacked(weight: Tensor, state: Any, dtype: torch.dtype) -> Tensor:
    """A matrix [outputs, inputs] in `dtype` from bitsandbytes' 4-bit weight and its state.

    On a CPU it may hold only until the next call in this thread.
    """
    from bitsandbytes.functional import dequantize_4bit

    if weight.device.type == "cpu" and state.shape[1] % 2 == 0:
        return _into_place(weight, state).to(dtype)
    matrix: Tensor = dequantize_4bit(weight, state)
    return matrix.to(dtype)


def _into_place(weight: Tensor, state: Any) -> Tensor:
    """`dequantize_4bit` with its `out`, which bitsandbytes' operator does not take on a CPU; its kernel does."""
    from bitsandbytes.cextension import lib
    from bitsandbytes.functional import dequantize_blockwise

    absmax = state.absmax
    if state.nested:
        absmax = dequantize_blockwise(absmax, state.state2) + state.offset
    out = _place.of(torch.Size(state.shape), state.dtype)
    kernel = getattr(lib, f"cdequantize_blockwise_cpu_{state.quant_type}_{_INTO_PLACE[state.dtype]}")
    tensors = weight.contiguous(), absmax.float(), out
    sizes = state.blocksize, *state.shape
    kernel(*(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors), *map(ctypes.c_longlong, sizes))
    return out
