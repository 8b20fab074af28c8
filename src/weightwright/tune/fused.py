"""A LoRA layer as one autograd step, in the base model's precision, with f32 master weights.

peft computes the adapter in the adapter's own f32 and casts every activation there and back. Here the
adapter's weights are cast instead (they are small), its products are added into the base product, and
the backward pass makes exactly the gradients that are needed: none for the frozen weight, none for the
input where nothing below it is trained.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fuse(model: nn.Module) -> Callable[[], None]:
    """Replace the forward pass of each plain LoRA layer on a linear layer; the result undoes it.

    Layers of other kinds (DoRA, embeddings, quantised bases) keep peft's own forward pass.
    """
    fused = [module for module in model.modules() if _is_plain(module)]
    for module in fused:
        module.forward = _forward_of(module)

    def undo() -> None:
        for module in fused:
            del module.forward

    return undo


def lora_linear(
    x: Tensor,
    dropped: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    scale: float,
) -> Tensor:
    """x·weightᵀ + bias + scale·(dropped·downᵀ)·upᵀ (LoRA, arXiv 2106.09685, §4.1) in x's precision.

    x and dropped [.., inputs]; weight [outputs, inputs] frozen; down [rank, inputs] and up [outputs, rank]
    f32; result [.., outputs]. `dropped` is x after the adapter's dropout, x itself without.
    """
    result: Tensor = _LoraLinear.apply(x, dropped, weight, bias, down, up, scale)
    return result


class _LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
    ) -> Tensor:
        low_down, low_up = down.to(x.dtype), (up * scale).to(x.dtype)
        flat = dropped.reshape(-1, dropped.shape[-1])
        inner = flat @ low_down.t()  # [tokens, rank]
        result = F.linear(x, weight, bias)
        result.view(-1, result.shape[-1]).addmm_(inner, low_up.t())
        ctx.save_for_backward(flat, inner, weight, low_down, low_up)
        ctx.scale, ctx.shape, ctx.same = scale, x.shape, dropped is x
        return result

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, low_down, low_up = ctx.saved_tensors
        grad = outer[0].reshape(-1, outer[0].shape[-1])
        grad_inner = grad @ low_up  # [tokens, rank]
        grad_down = (grad_inner.t() @ flat).float()
        grad_up = (grad.t() @ inner).float().mul_(ctx.scale)
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            if ctx.same:
                grad_x.addmm_(grad_inner, low_down)
            grad_x = grad_x.view(ctx.shape)
        if ctx.needs_input_grad[1] and not ctx.same:
            grad_dropped = (grad_inner @ low_down).view(ctx.shape)
        return grad_x, grad_dropped, None, None, grad_down, grad_up, None


def _is_plain(module: nn.Module) -> bool:
    from peft.tuners.lora import Linear

    if type(module) is not Linear:
        return False
    layer: Any = module
    return (
        type(layer.base_layer) is nn.Linear
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and list(layer.lora_A) == layer.active_adapters
        and not layer.merged
    )


def _forward_of(layer: Any) -> Callable[[Tensor], Tensor]:
    name = layer.active_adapters[0]
    base, dropout = layer.base_layer, layer.lora_dropout[name]
    down, up, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    plain = isinstance(dropout, nn.Identity)

    def forward(x: Tensor) -> Tensor:
        return lora_linear(x, x if plain else dropout(x), base.weight, base.bias, down, up, scale)

    return forward
