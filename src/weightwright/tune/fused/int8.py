"""Products of frozen weights in 8 bits on the way forward, about twice as fast on a CPU with such instructions.

Weights have a scale for each output and activations one for each token; both are rotated first, as in the engine (see
`weights.quantize`). Gradients go through the weight itself, as if the rounding were not there (the straight-through
estimator, arXiv 1308.3432, §4).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightwright.errors import SettingsError
from weightwright.kernels import train as kernels
from weightwright.kernels.elementwise import BLOCKS, Rows, Stored, padded
from weightwright.kernels.int8 import PACK_ROWS, int8_kernel, qlinear
from weightwright.weights.quantize import quantize_int8, quantize_rows, rotation_block

_WANTED, _MADE = "_int8_wanted", "_int8_weight"  # attributes of a layer


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weight:
    """A weight [outputs, inputs] in 8 bits, as oneDNN lays it out, and how its inputs are rounded."""

    packed: tuple[Tensor, Tensor, Tensor]
    stored: Stored

    @classmethod
    def of(cls, weight: Tensor) -> "Int8Weight":
        """Rounded from any float dtype."""
        kernel, (outputs, inputs) = int8_kernel(), weight.shape
        stored = Stored(torch.uint8 if kernel.offset else torch.int8, rotation_block(inputs))
        q, scale = quantize_int8(weight.detach(), kernel.levels, stored.block)
        packed = torch.ops.onednn.qlinear_prepack(q, [PACK_ROWS, inputs])
        return cls((packed, scale, torch.zeros(outputs, dtype=torch.int32)), stored)

    def codes(self, x: Tensor) -> Rows:
        """What x [n, inputs] is rounded to, for all weights of as many inputs."""
        if kernels.runs_on(x) and self.stored.block in BLOCKS:
            return kernels.codes(x.contiguous(), self.stored)
        codes, scales = quantize_rows(x, _offset(self.stored), self.stored.block)
        return Rows(codes, scales[:, 0])

    def product(self, codes: Rows, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """x·weightᵀ + bias [n, outputs] of `dtype`."""
        n = len(codes.data)
        out = qlinear(padded(codes.data), _offset(self.stored), self.packed, dtype)[:n]
        assert codes.scales is not None
        if kernels.runs_on(out):
            kernels.scale_rows(out, codes.scales)
        else:
            out *= codes.scales[:, None].to(dtype)
        return out if bias is None else out.add_(bias)


def _offset(stored: Stored) -> int:
    return 128 if stored.dtype == torch.uint8 else 0


@contextmanager
def int8_products(model: Any, *, wanted: bool) -> Iterator[None]:
    """Let the decoder's frozen layers multiply in 8 bits while the block runs, where `wanted`: all that run here."""
    layers: list[Any] = []
    if wanted:
        if model.device.type != "cpu":
            raise SettingsError(f"int8_forward runs on a CPU only, not on {model.device.type}; leave it out")
        int8_kernel()  # raises where there is none
        head = model.get_output_embeddings()
        layers = [
            one for one in model.get_decoder().modules() if isinstance(one, nn.Linear) and one is not head
        ]
    for layer in layers:
        layer.__dict__[_WANTED] = True
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop(_WANTED)
            layer.__dict__.pop(_MADE, None)


def int8_of(layer: nn.Module, weight: Any) -> Int8Weight | None:
    """A frozen layer's weight in 8 bits where it is wanted, made at its first use from what `weight` gives."""
    if not layer.__dict__.get(_WANTED):
        return None
    if _MADE not in layer.__dict__:
        layer.__dict__[_MADE] = Int8Weight.of(weight())
    made: Int8Weight = layer.__dict__[_MADE]
    return made
