"""A LoRA layer as one autograd step, in the base model's precision, with f32 master weights.

peft computes the adapter in the adapter's own f32 and casts every activation there and back. Here the
adapter's weights are cast instead (they are small), its products are added into the base product, and
the backward pass makes exactly the gradients that are needed: none for the frozen weight, none for the
input where nothing below it is trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightwright.kernels.elementwise import Rows
from weightwright.tune.fused.int8 import Int8Weight, int8_of
from weightwright.tune.fused.nf4 import unpacked

Tensors = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
Rest = tuple[float, Any, Int8Weight | None]
_NORMED_ROWS = 512


class Kept(NamedTuple):
    """What a layer keeps for its backward pass, beside its input.

    inner [n, rank], its input in the adapter's rank; with a magnitude the outcome [n, outputs], and the factor
    [outputs] f32 that scaled it.
    """

    inner: Tensor | None = None
    out: Tensor | None = None
    factor: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A frozen linear layer and its adapter, if there is one.

    weight [outputs, inputs], or its 4-bit form with bitsandbytes' `quantized` state; down [rank, inputs] and up
    [outputs, rank] f32. With `magnitude` [outputs] f32 it is DoRA (arXiv 2402.09353, §4): the rows of
    weight + scale·up·down are put to that length; their own length counts as a constant (§4.3). The product with the
    weight is made in 8 bits where it stands in them, too, as `int8`.
    """

    weight: Tensor
    bias: Tensor | None
    down: Tensor | None = None
    up: Tensor | None = None
    magnitude: Tensor | None = None
    scale: float = 0.0
    quantized: Any = None
    int8: Int8Weight | None = None

    @classmethod
    def of(cls, tensors: Sequence[Any], rest: Rest) -> "Parts":
        """From `tensors` and `rest`."""
        weight, bias, down, up, magnitude = tensors
        return cls(weight, bias, down, up, magnitude, *rest)

    @property
    def tensors(self) -> Tensors:
        """What autograd knows, in the order of the fields."""
        return self.weight, self.bias, self.down, self.up, self.magnitude

    @property
    def rest(self) -> Rest:
        """All else."""
        return self.scale, self.quantized, self.int8

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """The weight; one out of its 4 bits stands where the next one will."""
        return self.weight if self.quantized is None else unpacked(self.weight, self.quantized, dtype)

    def base(self, x: Tensor, bias: Tensor | None, codes: Rows | None = None) -> Tensor:
        """x·weightᵀ + bias [n, outputs], x [n, inputs]; `codes` are x in 8 bits, where they are known."""
        if self.int8 is None:
            return F.linear(x, self.matrix(x.dtype), bias)
        return self.int8.product(codes or self.int8.codes(x), bias, x.dtype)

    def product(self, x: Tensor, dropped: Tensor) -> tuple[Tensor, Kept]:
        """The layer's outcome [n, outputs] for x [n, inputs]; the adapter sees `dropped` in its place."""
        result = self.base(x, None if self.magnitude is not None else self.bias)
        if self.down is None or self.up is None:
            return result, Kept()
        inner = dropped @ self.down.to(x.dtype).t()
        self._add_adapter(result, inner)
        if self.magnitude is None:
            return result, Kept(inner)
        factor = self.magnitude / self._lengths(self.matrix(x.dtype), self.down, self.up)
        result *= factor.to(x.dtype)
        if self.bias is not None:
            result += self.bias
        return result, Kept(inner, result, factor)

    def with_inner(self, x: Tensor, inner: Tensor, codes: Rows | None) -> Tensor:
        """The outcome [n, outputs] of a layer without a magnitude from x [n, inputs] and x·downᵀ [n, rank]."""
        return self._add_adapter(self.base(x, self.bias, codes), inner)

    def unscaled(self, grad: Tensor, kept: Kept) -> tuple[Tensor, Tensor | None]:
        """The gradients of the output before the magnitude scaled it, and of the magnitude; grad [n, outputs]."""
        if self.magnitude is None or kept.out is None or kept.factor is None:
            return grad, None
        projected = (grad * kept.out).sum(0, dtype=torch.float32)
        if self.bias is not None:
            projected -= self.bias.float() * grad.sum(0, dtype=torch.float32)
        return grad * kept.factor.to(grad.dtype), projected / self.magnitude

    def input_gradient(self, grad: Tensor, grad_inner: Tensor | None, into: Tensor | None = None) -> Tensor:
        """The gradient of the input [n, inputs] from grad [n, outputs], added to `into` where given."""
        weight = self.matrix(grad.dtype)
        result = grad @ weight if into is None else into.addmm_(grad, weight)
        if grad_inner is not None and self.down is not None:
            result.addmm_(grad_inner, self.down.to(grad.dtype))
        return result

    def inner_gradient(self, grad: Tensor) -> Tensor | None:
        """The gradient of dropped·downᵀ [n, rank] from grad [n, outputs]."""
        return None if self.up is None else grad @ (self.up * self.scale).to(grad.dtype)

    def adapter_gradients(
        self, grad: Tensor, grad_inner: Tensor | None, dropped: Tensor, kept: Kept
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of down and up, f32."""
        if grad_inner is None or kept.inner is None:
            return None, None
        return (grad_inner.t() @ dropped).float(), self.up_gradient(grad, kept.inner)

    def up_gradient(self, grad: Tensor, inner: Tensor) -> Tensor:
        """The gradient of up [outputs, rank] f32."""
        return (grad.t() @ inner).float().mul_(self.scale)

    def _add_adapter(self, result: Tensor, inner: Tensor) -> Tensor:
        assert self.up is not None
        return result.addmm_(inner, (self.up * self.scale).to(result.dtype).t())

    def _lengths(self, weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """The lengths [outputs] f32 of the rows of weight + scale·up·down, which is never made."""
        blocks = weight.split(_NORMED_ROWS)  # of the whole an f32 copy would be made
        own = torch.cat(
            [torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32) for rows in blocks]
        ).square()
        mixed = (weight @ down.to(weight.dtype).t()).float()
        added = (up @ (down @ down.t()) * up).sum(1)
        squares = own + 2 * self.scale * (mixed * up).sum(1) + self.scale**2 * added
        return squares.clamp(min=torch.finfo(torch.float32).tiny).sqrt()


def lora_linear(x: Tensor, dropped: Tensor, parts: Parts) -> Tensor:
    """x·weightᵀ + bias + scale·(dropped·downᵀ)·upᵀ (LoRA, arXiv 2106.09685, §4.1) in x's precision.

    x and dropped [.., inputs]; result [.., outputs]. `dropped` is x after the adapter's dropout, x itself without.
    With a magnitude, what the dropout took away, x - dropped, goes through the base layer alone, as it does in peft.
    """
    if parts.magnitude is not None and dropped is not x:
        lost, base = x - dropped, replace(parts, down=None, up=None, magnitude=None)
        return lora_linear(lost, lost, base) + lora_linear(dropped, dropped, replace(parts, bias=None))
    result: Tensor = _LoraLinear.apply(x, dropped, parts.rest, *parts.tensors)
    return result.view(*x.shape[:-1], -1)  # here, so that a model may change it in place


class _LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: Tensor, rest: Rest, *tensors: Any) -> Tensor:
        flat = dropped.reshape(-1, dropped.shape[-1])
        result, kept = Parts.of(tensors, rest).product(x.reshape(flat.shape), flat)
        ctx.save_for_backward(flat if kept.inner is not None else None, *kept, *tensors)
        ctx.rest, ctx.shape, ctx.same = rest, x.shape, dropped is x
        return result

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, out, factor, *tensors = ctx.saved_tensors
        parts, kept = Parts.of(tensors, ctx.rest), Kept(inner, out, factor)
        grad, of_magnitude = parts.unscaled(outer[0].reshape(-1, outer[0].shape[-1]), kept)
        grad_inner = parts.inner_gradient(grad)
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = parts.input_gradient(grad, grad_inner if ctx.same else None).view(ctx.shape)
        if ctx.needs_input_grad[1] and not ctx.same and grad_inner is not None and parts.down is not None:
            grad_dropped = (grad_inner @ parts.down.to(grad.dtype)).view(ctx.shape)
        adapter = parts.adapter_gradients(grad, grad_inner, flat, kept)
        return grad_x, grad_dropped, None, None, None, *adapter, of_magnitude


def forward_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The forward pass of a LoRA or DoRA layer on a linear layer, in 4 bits or not.

    None for layers of other kinds (embeddings, other quantised bases).
    """
    if not is_plain(module):
        return None
    layer: Any = module
    dropout = layer.lora_dropout[layer.active_adapters[0]]
    plain = isinstance(dropout, nn.Identity)

    def forward(x: Tensor) -> Tensor:
        return lora_linear(x, x if plain else dropout(x), parts_of(layer))

    return forward


def is_plain(module: nn.Module) -> bool:
    """Whether this is peft's LoRA or DoRA on a linear layer, and nothing else."""
    from peft.tuners.lora import LoraLayer

    layer: Any = module
    return (
        isinstance(module, LoraLayer)
        and type(module).__name__ in ("Linear", "Linear4bit")
        and is_frozen_linear(layer.base_layer)
        and list(layer.lora_A) == layer.active_adapters
        and all(type(variant).__name__ == "DoraLinearVariant" for variant in layer.lora_variant.values())
        and not layer.fan_in_fan_out
        and not layer.merged
    )


def is_one_step(module: nn.Module) -> bool:
    """Whether this is a frozen linear layer, or one with a LoRA or DoRA adapter without dropout."""
    layer: Any = module
    if is_plain(layer):
        return isinstance(layer.lora_dropout[layer.active_adapters[0]], nn.Identity)
    return is_frozen_linear(layer)


def is_frozen_linear(module: nn.Module) -> bool:
    """Whether this is a linear layer, in 4 bits or not, whose weights are not trained."""
    layer: Any = module
    known = type(module) is nn.Linear or _state_of(module) is not None
    return known and not layer.weight.requires_grad


def parts_of(layer: Any) -> Parts:
    """A plain LoRA layer's tensors as they are now, or those of a linear layer without an adapter."""
    if is_frozen_linear(layer):
        return _frozen(layer)
    base, name = _frozen(layer.base_layer), layer.active_adapters[0]
    if layer.disable_adapters:
        return base
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    magnitude = layer.lora_magnitude_vector[name].weight if layer.lora_variant else None
    return replace(base, down=down, up=up, magnitude=magnitude, scale=layer.scaling[name])


def _frozen(layer: Any) -> Parts:
    """A linear layer's own tensors."""
    parts = Parts(layer.weight, layer.bias, quantized=_state_of(layer))
    int8 = int8_of(layer, lambda: parts.matrix(torch.bfloat16))
    return parts if int8 is None else replace(parts, int8=int8)


def _state_of(layer: Any) -> Any:
    """What bitsandbytes knows of a linear layer in 4 bits; None of another layer."""
    kind = type(layer)
    if kind.__name__ != "Linear4bit" or not kind.__module__.startswith("bitsandbytes"):
        return None
    return getattr(layer.weight, "quant_state", None)
