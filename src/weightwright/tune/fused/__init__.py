"""Layers of a transformers model as single autograd steps: less is kept for the backward pass, and less is copied.

A layer is taken by its structure, and only where its outcome was seen to be the same by trying; all others keep their
own forward pass.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from weightwright.tune.fused import lora, mlp, norm

__all__ = ["fuse"]

_TRIED_TOKENS = 4
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}  # of the largest outcome


def fuse(model: nn.Module) -> Callable[[], None]:
    """Replace forward passes in `model`, whose layers have their adapters; the result undoes it."""
    forwards = dict(_fused(model))
    for module, forward in forwards.items():
        module.forward = forward

    def undo() -> None:
        for module in forwards:
            module.__dict__.pop("forward", None)

    return undo


def _fused(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    works: dict[tuple[object, ...], bool] = {}  # what was tried, once for each kind of layer
    first = next((weight for weight in model.parameters() if weight.is_floating_point()), torch.empty(0))
    for module in model.modules():
        if forward := lora.forward_of(module):
            yield module, forward
        for kind, width in ((mlp, _mlp_width), (norm, _norm_width)):
            if forward := kind.forward_of(module):
                key = kind.key_of(module)
                if key not in works:
                    x = torch.randn(
                        1, _TRIED_TOKENS, width(module), generator=torch.Generator().manual_seed(0)
                    )
                    works[key] = _is_same(module, forward, x.to(first))
                if works[key]:
                    yield module, forward


def _mlp_width(module: Any) -> int:
    return int(module.gate_proj.in_features)


def _norm_width(module: Any) -> int:
    return int(module.weight.shape[0])


def _is_same(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether both forward passes give the same for tokens x [1, tokens, width] in what the model computes in."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            own, other = module(x), forward(x)
    finally:
        module.train(training)
    if own.shape != other.shape:
        return False
    return float((own - other).abs().max()) <= _TOLERANCE.get(x.dtype, 0.0) * float(own.abs().max())
