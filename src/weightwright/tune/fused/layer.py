"""A decoder layer of the usual kind as two autograd steps, x + attention(norm x) and x + mlp(norm x).

They keep what the backward pass cannot make again cheaply: each step's input, the turned queries and keys, the
values, what attention gives, and the outcomes of gate and up. Norms are made again. Where activations are recomputed,
gate and up are, too: they are most of what a layer keeps, and no other product is made twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightwright.kernels import train as kernels
from weightwright.kernels import tree as attention
from weightwright.kernels.tree import Tree
from weightwright.tune.fused import mlp, norm, together
from weightwright.tune.fused.lora import Kept, Rest, is_one_step, parts_of

_CHILDREN = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a layer's attention was seen to ask for: the width of a head, its scale, its window (0: none)."""

    width: int
    scale: float
    window: int


def is_usual(module: nn.Module) -> bool:
    """Whether a module has the parts of such a layer, all frozen and without dropout, where the kernels run."""
    layer: Any = module
    if {name for name, _ in module.named_children()} != _CHILDREN or mlp.whole_of(layer.mlp) is None:
        return False
    names = {name for name, _ in layer.self_attn.named_children()}
    return (
        names - {"q_norm", "k_norm"} == {*_PROJECTIONS, "o_proj"}
        and ("q_norm" in names) == ("k_norm" in names)
        and all(is_one_step(getattr(layer.self_attn, name)) for name in (*_PROJECTIONS, "o_proj"))
        and all(norm.of(one) is not None for one in _norms(layer) if one is not None)
    )


def _norms(layer: Any) -> tuple[Any, Any, Any, Any]:
    own = layer.self_attn
    of_heads = getattr(own, "q_norm", None), getattr(own, "k_norm", None)
    return layer.input_layernorm, layer.post_attention_layernorm, *of_heads


def forward_of(module: nn.Module, rules: Rules, *, again: bool = False) -> Callable[..., Tensor]:
    """The forward pass of a layer that `is_usual`, whose attention keeps to `rules`.

    With `again` the backward pass makes the outcomes of gate and up again.
    """
    layer: Any = module
    activation = mlp.whole_of(layer.mlp)
    first, second, *of_heads = (None if one is None else norm.of(one) for one in _norms(layer))

    def forward(
        hidden_states: Tensor,
        *_: Any,
        position_embeddings: Any,
        packed_tree: Tree | None = None,
        **_more: Any,
    ) -> Tensor:
        lines, tokens, hidden = hidden_states.shape
        x = hidden_states.reshape(-1, hidden)
        tree = packed_tree or Tree.of_lines(lines, tokens)
        turns = [
            one.expand(lines, -1, -1).reshape(-1, rules.width).to(x.dtype) for one in position_embeddings
        ]
        parts = [parts_of(getattr(layer.self_attn, name)) for name in (*_PROJECTIONS, "o_proj")]
        x = _AttentionStep.apply(x, (*turns, tree, rules, first, of_heads), *together.flat(parts))
        parts = [parts_of(getattr(layer.mlp, name)) for name in mlp.LAYERS]
        x = _MlpStep.apply(x, (activation, second, again), *together.flat(parts))
        return x.view(lines, tokens, hidden)

    return forward


class _AttentionStep(torch.autograd.Function):  # type: ignore[misc]
    """x + o(attention(q, k, v of norm x)), x [n, hidden]; q and k are normed, where they have norms, and turned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: tuple[Any, ...], rests: Sequence[Rest], *tensors: Any) -> Tensor:
        cos, sin, tree, rules, normed, of_heads = how
        *inner, outer = together.parts(tensors, rests)
        made, kept = together.products(inner, normed.of(x))
        q, k, v = (_free(one, own).view(len(x), -1, rules.width) for one, own in zip(made, kept, strict=True))
        raw = (q, k)
        q, k = _turned(q, k, cos, sin, of_heads)  # in place, where there are no norms
        q_heads, k_heads, v_heads = (one.transpose(0, 1) for one in (q, k, v))
        seen = attention.attend(q_heads, k_heads, v_heads, tree, rules.scale, rules.window)
        seen = seen.view(len(x), -1)
        (out,), of_out = together.products([outer], seen)
        ctx.save_for_backward(x, cos, sin, *raw, v, seen, *together.kept([*kept, *of_out]), *tensors)
        ctx.how, ctx.rests = how[2:], rests
        return _free(out, of_out[0]).add_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tree, rules, normed, of_heads = ctx.how
        x, cos, sin, raw_q, raw_k, v, seen, *saved = ctx.saved_tensors
        kept, tensors = together.unkept(saved, 4)
        *inner, outer = together.parts(tensors, ctx.rests)
        grad = grads[0].contiguous()
        of_seen, of_outer = together.gradients([outer], [grad], kept[3:], seen)
        assert of_seen is not None
        q, k = (raw_q, raw_k) if of_heads[0] is None else _turned(raw_q, raw_k, cos, sin, of_heads)
        of_heads_seen = of_seen.view(*q.shape[:2], -1)
        q_heads, k_heads, v_heads, of_heads_seen = (one.transpose(0, 1) for one in (q, k, v, of_heads_seen))
        of_q, of_k, of_v = attention.gradients(
            q_heads, k_heads, v_heads, of_heads_seen, tree, rules.scale, rules.window
        )
        for one in (of_q, of_k):
            kernels.rotate(one, cos, sin, back=True)
        if of_heads[0] is not None:
            of_q, of_k = (
                one.gradient(raw.reshape(-1, rules.width), of.view(-1, rules.width)).view(of.shape)
                for one, raw, of in zip(of_heads, (raw_q, raw_k), (of_q, of_k), strict=True)
            )
        own = [one.view(len(x), -1) for one in (of_q, of_k, of_v)]
        back, of_inner = together.gradients(
            inner, own, kept[:3], normed.of(x), wanted=ctx.needs_input_grad[0]
        )
        return _past(x, normed, back, grad), None, None, *of_inner, *of_outer


def _free(out: Tensor, kept: Kept) -> Tensor:
    """A layer's outcome as numbers that may be overwritten: where the layer keeps them, a copy."""
    return out if kept.out is None else out.clone()


def _turned(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, of_heads: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Queries and keys [n, heads, width] with their norms and turned by their positions."""
    if of_heads[0] is not None:
        q, k = (
            one.of(x.reshape(-1, x.shape[2])).view(x.shape) for one, x in zip(of_heads, (q, k), strict=True)
        )
    for one in (q, k):
        kernels.rotate(one, cos, sin)
    return q, k


class _MlpStep(torch.autograd.Function):  # type: ignore[misc]
    """x + down(activation(gate) · up) of norm x, x [n, hidden]; gate and up are not kept where `again` is set."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: tuple[Any, ...], rests: Sequence[Rest], *tensors: Any) -> Tensor:
        activation, normed, again = how
        *inner, outer = together.parts(tensors, rests)
        (gate, up), kept = together.products(inner, normed.of(x))
        product = mlp.gated(gate, up, activation)
        (out,), of_out = together.products([outer], product)
        middle = (None, None, *together.kept([Kept(), Kept()])) if again else (gate, up, *together.kept(kept))
        ctx.save_for_backward(x, *middle, *together.kept(of_out), *tensors)
        ctx.how, ctx.rests = how, rests
        return _free(out, of_out[0]).add_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        activation, normed, again = ctx.how
        x, gate, up, *saved = ctx.saved_tensors
        kept, tensors = together.unkept(saved, 3)
        *inner, outer = together.parts(tensors, ctx.rests)
        h = normed.of(x)
        if again:
            (gate, up), kept[:2] = together.products(inner, h)
        grad = grads[0].contiguous()
        free = together.overwrites(ctx, kept[:2])
        own, of_outer = mlp.through_gate(outer, grad, kept[2], (gate, up), activation, in_place=free)
        back, of_inner = together.gradients(inner, own, kept[:2], h, wanted=ctx.needs_input_grad[0])
        return _past(x, normed, back, grad), None, None, *of_inner, *of_outer


def _past(x: Tensor, normed: Any, back: Tensor | None, grad: Tensor) -> Tensor | None:
    """The gradient of a step's input x [n, hidden]: through its norm, and past it."""
    return None if back is None else normed.gradient(x, back).add_(grad)
