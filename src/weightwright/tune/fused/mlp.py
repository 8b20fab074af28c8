"""A gated MLP, down(activation(gate x) · up x), that keeps only the outcomes of gate and up for the backward pass.

The activation and the product are made again there, in one pass with their gradients.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightwright.kernels import elementwise
from weightwright.kernels import train as kernels
from weightwright.tune.fused.lora import Kept, Parts, Rest, is_frozen_linear, is_plain, parts_of

_LAYERS = ("gate_proj", "up_proj", "down_proj")
_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh"}


def forward_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The forward pass of a gated MLP; None for another module.

    The whole of it is one step where its three layers are frozen and without dropout, else the middle alone.
    """
    layers = [getattr(module, name, None) for name in _LAYERS]
    activation = _ACTIVATIONS.get(type(getattr(module, "act_fn", None)).__name__)
    if None in layers or activation is None or len(list(module.children())) > len(_LAYERS) + 1:
        return None
    number = elementwise.ACTIVATIONS[activation]
    mlp: Any = module

    if all(_is_one_step(layer) for layer in layers):

        def whole(x: Tensor) -> Tensor:
            parts = [parts_of(getattr(mlp, name)) for name in _LAYERS]
            tensors = [tensor for one in parts for tensor in one.tensors]
            output: Tensor = _GatedMlp.apply(x, number, [one.rest for one in parts], *tensors)
            return output

        return whole

    def middle(x: Tensor) -> Tensor:
        output: Tensor = mlp.down_proj(_Gate.apply(mlp.gate_proj(x), mlp.up_proj(x), number))
        return output

    return middle


def key_of(module: nn.Module) -> tuple[object, ...]:
    """What MLPs that behave alike have in common."""
    layers: list[Any] = [getattr(module, name) for name in _LAYERS]
    kinds = tuple((type(layer), layer.in_features, layer.out_features) for layer in layers)
    return type(module), kinds, all(_is_one_step(layer) for layer in layers)


def _is_one_step(layer: Any) -> bool:
    if is_plain(layer):
        return isinstance(layer.lora_dropout[layer.active_adapters[0]], nn.Identity)
    return is_frozen_linear(layer)


def _gated(gate: Tensor, up: Tensor, activation: int) -> Tensor:
    if kernels.runs_on(gate):
        return kernels.gated(gate, up, activation)
    return _activate(gate, activation) * up


def _gated_gradients(gate: Tensor, up: Tensor, grad: Tensor, activation: int) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up; `grad` is overwritten by the product itself."""
    if kernels.runs_on(gate):
        return kernels.gated_gradients(gate, up, grad, activation)
    with torch.enable_grad():
        gate, up = gate.detach().requires_grad_(), up.detach().requires_grad_()
        product = _activate(gate, activation) * up
        of_gate, of_up = torch.autograd.grad(product, (gate, up), grad)
    grad.copy_(product.detach())
    return of_gate, of_up


def _activate(gate: Tensor, activation: int) -> Tensor:
    if activation == elementwise.ACTIVATIONS["silu"]:
        return F.silu(gate)
    return F.gelu(gate, approximate="tanh")


class _Gate(torch.autograd.Function):  # type: ignore[misc]
    """Activation(gate) · up, all [.., width]."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: int) -> Tensor:
        flat = gate.reshape(-1, gate.shape[-1]), up.reshape(-1, up.shape[-1])
        ctx.save_for_backward(*flat)
        ctx.activation = activation
        return _gated(*flat, activation).view(gate.shape)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        grad = outer[0].reshape(gate.shape).clone(memory_format=torch.contiguous_format)
        gradients = _gated_gradients(gate, up, grad, ctx.activation)
        return *(one.view(outer[0].shape) for one in gradients), None


class _GatedMlp(torch.autograd.Function):  # type: ignore[misc]
    """Tensors are those of the gate's, up's and down's `Parts`, five each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: int, rests: list[Rest], *tensors: Any) -> Tensor:
        gate_layer, up_layer, down_layer = _layers(tensors, rests)
        flat = x.reshape(-1, x.shape[-1])
        gate, of_gate = gate_layer.product(flat, flat)
        up, of_up = up_layer.product(flat, flat)
        product = _gated(gate, up, activation)
        result, of_down = down_layer.product(product, product)
        ctx.save_for_backward(flat, gate, up, *of_gate, *of_up, *of_down, *tensors)
        ctx.activation, ctx.rests, ctx.shape = activation, rests, x.shape
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        flat, gate, up, *saved = ctx.saved_tensors
        kept_gate, kept_up, kept_down = (Kept(*saved[3 * n : 3 * n + 3]) for n in range(3))
        gate_layer, up_layer, down_layer = _layers(saved[9:], ctx.rests)
        grad, down_magnitude = down_layer.unscaled(outer[0].reshape(-1, outer[0].shape[-1]), kept_down)
        grad_inner = down_layer.inner_gradient(grad)
        product = down_layer.input_gradient(grad, grad_inner)  # its gradient, until the next line
        grad_gate, grad_up = _gated_gradients(gate, up, product, ctx.activation)
        of_down = down_layer.adapter_gradients(grad, grad_inner, product, kept_down)
        grad_gate, gate_magnitude = gate_layer.unscaled(grad_gate, kept_gate)
        grad_inner = gate_layer.inner_gradient(grad_gate)
        of_gate = gate_layer.adapter_gradients(grad_gate, grad_inner, flat, kept_gate)
        grad_x = gate_layer.input_gradient(grad_gate, grad_inner) if ctx.needs_input_grad[0] else None
        grad_up, up_magnitude = up_layer.unscaled(grad_up, kept_up)
        grad_inner = up_layer.inner_gradient(grad_up)
        of_up = up_layer.adapter_gradients(grad_up, grad_inner, flat, kept_up)
        if grad_x is not None:
            grad_x = up_layer.input_gradient(grad_up, grad_inner, grad_x).view(ctx.shape)
        frozen = (None, None)
        return (
            *(grad_x, None, None),
            *(*frozen, *of_gate, gate_magnitude),
            *(*frozen, *of_up, up_magnitude),
            *(*frozen, *of_down, down_magnitude),
        )


def _layers(tensors: Any, rests: list[Rest]) -> list[Parts]:
    return [Parts.of(tensors[5 * n : 5 * n + 5], rest) for n, rest in enumerate(rests)]
