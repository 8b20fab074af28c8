"""A frozen RMS norm on the CPU that keeps only its input for the backward pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightwright.kernels import train as kernels


def forward_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The forward pass of a frozen RMS norm; None for another module."""
    norm: Any = module
    weight, eps = getattr(module, "weight", None), _eps(module)
    if not type(module).__name__.endswith("RMSNorm") or eps is None or not isinstance(weight, Tensor):
        return None
    if weight.requires_grad or not kernels.runs_on(weight):
        return None

    own = module.forward

    def forward(x: Tensor) -> Tensor:
        if not kernels.runs_on(x):  # a layer may be divided over GPUs after it was fused
            return own(x)
        output: Tensor = _Norm.apply(x.reshape(-1, x.shape[-1]), norm.weight, eps)
        return output.view(x.shape)  # here, so that a model may change it in place

    return forward


@dataclass(frozen=True, slots=True)
class Norm:
    """A frozen RMS norm of rows [n, width]."""

    module: Any
    eps: float

    def of(self, x: Tensor) -> Tensor:
        """Rows x normed."""
        return kernels.norm(x, self.module.weight.float(), self.eps)

    def gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient of x from that of its norm."""
        return kernels.norm_gradient(x, self.module.weight.float(), self.eps, grad)


def of(module: nn.Module) -> Norm | None:
    """The arithmetic of a frozen RMS norm; None for another module."""
    eps = _eps(module)
    return None if forward_of(module) is None or eps is None else Norm(module, eps)


def key_of(module: nn.Module) -> tuple[object, ...]:
    """What norms that behave alike have in common."""
    norm: Any = module
    return type(module), tuple(norm.weight.shape), _eps(module)


def _eps(module: Any) -> float | None:
    eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
    return float(eps) if eps else None


class _Norm(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        flat = x.contiguous()  # a part of wider rows is not
        ctx.save_for_backward(flat, weight)
        ctx.eps = eps
        return kernels.norm(flat, weight.float(), eps)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight = ctx.saved_tensors
        return kernels.norm_gradient(flat, weight.float(), ctx.eps, outer[0].contiguous()), None, None
