"""Linear layers that share their input: what their adapters make of it is made together, in fewer products."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from weightwright.tune.fused.lora import Kept, Parts, Rest

_FIELDS = 5  # tensors of a layer


def flat(parts: Sequence[Parts]) -> tuple[Any, ...]:
    """What an autograd step is given of layers: all that is no tensor, then their tensors."""
    return [one.rest for one in parts], *(tensor for one in parts for tensor in one.tensors)


def parts(tensors: Sequence[Any], rests: Sequence[Rest]) -> list[Parts]:
    """The layers again, from what `flat` made of them."""
    return [Parts.of(tensors[_FIELDS * n : _FIELDS * (n + 1)], rest) for n, rest in enumerate(rests)]


def kept(some: Sequence[Kept]) -> list[Tensor | None]:
    """The tensors that layers keep."""
    return [tensor for one in some for tensor in one]


def unkept(saved: Sequence[Any], layers: int) -> tuple[list[Kept], Sequence[Any]]:
    """What that many layers kept, and what comes behind it."""
    size = len(Kept._fields)
    return [Kept(*saved[size * n : size * (n + 1)]) for n in range(layers)], saved[size * layers :]


def overwrites(ctx: Any, some: Sequence[Kept]) -> bool:
    """Whether the backward pass of a step may overwrite its layers' outcomes: they keep none themselves.

    Autograd does not see it, so a second pass over the same graph is refused. Raises RuntimeError.
    """
    if getattr(ctx, "gone_backward", False):
        raise RuntimeError(
            "a fused layer goes backward once: its outcomes are overwritten by their gradients"
        )
    ctx.gone_backward = all(one.out is None for one in some)
    return bool(ctx.gone_backward)


def products(layers: Sequence[Parts], x: Tensor) -> tuple[list[Tensor], list[Kept]]:
    """The outcomes [n, outputs] of layers for x [n, inputs], and what they keep."""
    if not _alike(layers):
        made = [one.product(x, x) for one in layers]
        return [out for out, _ in made], [own for _, own in made]
    inner = (x @ _downs(layers, x.dtype).t()).split([len(one.down) for one in layers], dim=1)  # type: ignore[arg-type]
    codes = layers[0].int8.codes(x) if layers[0].int8 else None
    made = [one.with_inner(x, own, codes) for one, own in zip(layers, inner, strict=True)]
    return made, [Kept(own) for own in inner]


def gradients(
    layers: Sequence[Parts], grads: Sequence[Tensor], some: Sequence[Kept], x: Tensor | Callable[[Tensor], Tensor], *,
    wanted: bool = True,
) -> tuple[Tensor | None, list[Tensor | None]]:  # fmt: skip
    """The gradient of the shared input x [n, inputs], where `wanted`, and those of all tensors, as `flat` has them.

    `x` may be made from the gradient of itself, whose place it may take.
    """
    scaled = [one.unscaled(grad, own) for one, grad, own in zip(layers, grads, some, strict=True)]
    grads = [grad for grad, _ in scaled]
    inner = [one.inner_gradient(grad) for one, grad in zip(layers, grads, strict=True)]
    together = torch.cat(inner, dim=1) if _alike(layers) and len(layers) > 1 else None
    back: Tensor | None = None
    if wanted:
        for one, grad, own in zip(layers, grads, inner, strict=True):
            back = one.input_gradient(grad, own if together is None else None, back)
        if together is not None and back is not None:
            back.addmm_(together, _downs(layers, together.dtype))
    if callable(x):
        assert back is not None
        x = x(back)
    if together is None:
        every = zip(layers, grads, inner, some, strict=True)
        own = [one.adapter_gradients(grad, within, x, of) for one, grad, within, of in every]
    else:
        downs = (together.t() @ x).float().split([len(one.down) for one in layers])  # type: ignore[arg-type]
        every_up = zip(layers, grads, some, strict=True)
        ups = [one.up_gradient(grad, of.inner) for one, grad, of in every_up]
        own = [*zip(downs, ups, strict=True)]
    found = [(None, None, *pair, magnitude) for pair, (_, magnitude) in zip(own, scaled, strict=True)]
    return back, [tensor for one in found for tensor in one]


def _alike(layers: Sequence[Parts]) -> bool:
    """Whether all have adapters without magnitudes."""
    return all(one.down is not None and one.magnitude is None for one in layers)


def _downs(layers: Sequence[Parts], dtype: torch.dtype) -> Tensor:
    return torch.cat([one.down for one in layers]).to(dtype)
