"""A gated MLP, down(activation(gate x) · up x), that keeps only the outcomes of gate and up for the backward pass.

The activation and the product are made again there, in one pass with their gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightwright.kernels import elementwise
from weightwright.kernels import train as kernels
from weightwright.tune.fused import together
from weightwright.tune.fused.lora import Kept, Parts, Rest, is_one_step, parts_of

LAYERS = ("gate_proj", "up_proj", "down_proj")
_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh"}


def forward_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The forward pass of a gated MLP; None for another module.

    The whole of it is one step where its three layers are frozen and without dropout, else the middle alone.
    """
    number, mlp = _activation_of(module), cast(Any, module)
    if number is None:
        return None
    if whole_of(module) is not None:

        def whole(x: Tensor) -> Tensor:
            flat = together.flat([parts_of(getattr(mlp, name)) for name in LAYERS])
            output: Tensor = _GatedMlp.apply(x.reshape(-1, x.shape[-1]), number, *flat)
            return output.view(*x.shape[:-1], -1)

        return whole

    def middle(x: Tensor) -> Tensor:
        output: Tensor = mlp.down_proj(_Gate.apply(mlp.gate_proj(x), mlp.up_proj(x), number))
        return output

    return middle


def whole_of(module: nn.Module) -> int | None:
    """The number of the activation of a gated MLP whose three layers are frozen and without dropout, else None."""
    number = _activation_of(module)
    if number is None or not all(is_one_step(getattr(module, name)) for name in LAYERS):
        return None
    return number


def _activation_of(module: nn.Module) -> int | None:
    """The number of the activation of a gated MLP, None of another module."""
    activation = _ACTIVATIONS.get(type(getattr(module, "act_fn", None)).__name__)
    known = all(isinstance(getattr(module, name, None), nn.Module) for name in LAYERS)
    if not known or activation is None or len(list(module.children())) > len(LAYERS) + 1:
        return None
    return elementwise.ACTIVATIONS[activation]


def key_of(module: nn.Module) -> tuple[object, ...]:
    """What MLPs that behave alike have in common."""
    layers: list[Any] = [getattr(module, name) for name in LAYERS]
    kinds = tuple((type(layer), layer.in_features, layer.out_features) for layer in layers)
    return type(module), kinds, all(is_one_step(layer) for layer in layers)


def gated(gate: Tensor, up: Tensor, activation: int) -> Tensor:
    """Activation(gate) · up, all [n, width]."""
    if kernels.runs_on(gate):
        return kernels.gated(gate, up, activation)
    return _activate(gate, activation) * up


def _gated_gradients(
    gate: Tensor, up: Tensor, grad: Tensor, activation: int, *, in_place: bool = False
) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up, which may be `in_place`; `grad` is overwritten by the product itself."""
    if kernels.runs_on(gate):
        return kernels.gated_gradients(gate, up, grad, activation, in_place=in_place)
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
        return gated(*flat, activation).view(gate.shape)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        grad = outer[0].reshape(gate.shape).clone(memory_format=torch.contiguous_format)
        gradients = _gated_gradients(gate, up, grad, ctx.activation)
        return *(one.view(outer[0].shape) for one in gradients), None


class _GatedMlp(torch.autograd.Function):  # type: ignore[misc]
    """Of x [n, hidden]; the tensors are those of the gate's, up's and down's `Parts`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: int, rests: Sequence[Rest], *tensors: Any) -> Tensor:
        *inner, down = together.parts(tensors, rests)
        (gate, up), kept = together.products(inner, x)
        (result,), of_down = together.products([down], gated(gate, up, activation))
        ctx.save_for_backward(x, gate, up, *together.kept([*kept, *of_down]), *tensors)
        ctx.activation, ctx.rests = activation, rests
        return result

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, *saved = ctx.saved_tensors
        some, tensors = together.unkept(saved, len(LAYERS))
        *inner, down = together.parts(tensors, ctx.rests)
        free = together.overwrites(ctx, some[:2])
        own, of_down = through_gate(down, outer[0], some[2], (gate, up), ctx.activation, in_place=free)
        back, of_inner = together.gradients(inner, own, some[:2], x, wanted=ctx.needs_input_grad[0])
        return back, None, None, *of_inner, *of_down


def through_gate(
    down: Parts, grad: Tensor, kept: Kept, middle: tuple[Tensor, Tensor], activation: int, *, in_place: bool
) -> tuple[Sequence[Tensor], list[Tensor | None]]:
    """The gradients of gate and up, the two of `middle`, and of the down layer's tensors, from grad [n, outputs].

    `in_place` overwrites the two, where nothing else keeps them: a graph goes backward once.
    """
    found: list[Tensor] = []

    def product_of(gradient: Tensor) -> Tensor:
        """The product of activation and up, in the place of its gradient."""
        found.extend(_gated_gradients(*middle, gradient, activation, in_place=in_place))
        return gradient

    _, of_down = together.gradients([down], [grad], [kept], product_of)
    return found, of_down
