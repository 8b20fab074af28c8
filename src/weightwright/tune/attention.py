"""Causal attention for short rows on a CPU, in a few matrix products.

torch's flash kernel is made for long sequences; in bf16 on a CPU, forward and backward together, it takes
longer than plain products with a fused softmax (measured with 9 heads x 64 over 3 keys: 7.1 times at 40
tokens, 2.1 at 128, 2.2 at 256, 1.3 at 512). Longer rows, and whatever else is asked for (a mask,
dropout, a soft cap), go to transformers' own sdpa.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

NAME = "weightwright-short"
LONGEST = 512  # tokens; longer rows are left to the flash kernel


@contextmanager
def short_attention(model: Any) -> Iterator[None]:
    """Let a model on a CPU use this attention while the block runs."""
    before = model.config._attn_implementation
    if model.device.type != "cpu" or before != "sdpa":
        yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: q, k, v [rows, heads, tokens, width].

    The result is [rows, tokens, heads, width]; k and v may have fewer heads.
    """
    special = any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "s_aux"))
    square = query.shape[2] == key.shape[2] and getattr(module, "is_causal", False)
    if attention_mask is not None or dropout or special or not square or query.shape[2] > LONGEST:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out: Tensor = _Causal.apply(query, key, value, scale)
    return out.transpose(1, 2), None


class _Causal(torch.autograd.Function):  # type: ignore[misc]
    """softmax(scale·q·kᵀ, causal)·v; the heads that share keys are rows of one product."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows, heads, tokens, width = query.shape
        shared = key.shape[1]
        q = query.reshape(rows * shared, -1, width)  # [rows·keys, group·tokens, width]
        k = key.reshape(rows * shared, tokens, width)
        v = value.reshape(rows * shared, tokens, -1)
        future = torch.full((tokens, tokens), float("-inf"), dtype=q.dtype).triu_(1)
        scores = torch.baddbmm(future.repeat(heads // shared, 1), q, k.transpose(1, 2), alpha=scale)
        weights = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape, value.shape)
        return torch.bmm(weights, v).view(rows, heads, tokens, -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        query_shape, key_shape, value_shape = ctx.shapes
        grad = outer[0].reshape(q.shape[0], q.shape[1], -1)
        grad_value = torch.bmm(weights.transpose(1, 2), grad)
        grad_weights = torch.bmm(grad, v.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_scores *= ctx.scale
        grad_query = torch.bmm(grad_scores, k)
        grad_key = torch.bmm(grad_scores.transpose(1, 2), q)
        return grad_query.view(query_shape), grad_key.view(key_shape), grad_value.view(value_shape), None
