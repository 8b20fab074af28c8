"""Attention in torch's operators, with every rule: the reference of the kernels, and what stands in for them."""

from typing import TYPE_CHECKING

from weightwright.kernels.step import Rules

if TYPE_CHECKING:
    from torch import Tensor


def attend_seen(
    queries: "Tensor", keys: "Tensor", values: "Tensor", seen: "Tensor | None", rules: Rules
) -> "Tensor":
    """Queries [rows, heads, tokens, width] over keys [rows, kv_heads, length, width]; `seen` None: causal."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    shared = keys.shape[1] != queries.shape[1]
    if not rules.cap and rules.sinks is None:
        return scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=seen,
            is_causal=seen is None,
            scale=rules.scale,
            enable_gqa=shared,
        )
    if shared:
        keys, values = (x.repeat_interleave(queries.shape[1] // x.shape[1], dim=1) for x in (keys, values))
    scores = (queries @ keys.transpose(-1, -2)).float() * rules.scale
    if rules.cap:
        scores = rules.cap * torch.tanh(scores / rules.cap)
    if seen is None:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    scores = scores.masked_fill(~seen, -torch.inf)
    if rules.sinks is not None:
        sinks = rules.sinks.float()[None, :, None, None].expand(*scores.shape[:3], 1)
        weights = torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return weights.to(values.dtype) @ values
