"""Causal attention for training: packed rows never attend to each other; short rows on a CPU have a faster path.

The bounds of packed rows arrive as the keyword `packed_bounds`: transformers' models pass it to the attention
function, also when activations are recomputed. torch's flash kernel is made for long sequences. In bf16 on a CPU,
forward and backward together, it takes longer than plain products with a fused softmax (measured with 9 heads
x 64 over 3 keys: 7.1 times at 40 tokens, 2.1 at 128, 2.2 at 256, 1.3 at 512).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from weightwright.kernels import train as kernels
from weightwright.kernels.elementwise import padded_rows
from weightwright.plan.measured import SHORT_ROWS

NAME = "weightwright-rows"
# relative differences in bf16: from another order of sums, and from another kernel (4-bit kernels round most);
# attending to another row, or positions that do not restart, differ far more
_ROUNDING, _KERNELS = 0.02, 0.2
LONGEST = SHORT_ROWS  # tokens; longer rows are left to the flash kernel


@contextmanager
def row_attention(model: Any) -> Iterator[None]:
    """Let a model use this attention while the block runs, where it goes through transformers' interface.

    transformers makes no mask for a name it has none for; windows, caps and sinks come with each call.
    """
    from transformers import AttentionInterface

    before = model.config._attn_implementation
    if before not in ("sdpa", "eager"):
        yield
        return
    AttentionInterface.register(NAME, forward)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def packs_rightly(model: Any) -> bool:
    """Whether packed rows get the hidden states of rows alone: found by running the model, not by a list."""
    from weightwright.data.template import Encoded
    from weightwright.errors import Place
    from weightwright.tune.batch import Batch, Example, pack

    vocabulary = int(model.config.get_text_config().vocab_size)

    def hidden(*rows: list[int]) -> Tensor:
        one: Batch = pack(
            [Example((Encoded(tuple(row), (True,) * len(row), Place()),)) for row in rows], model.device
        )
        last: Tensor = model.base_model(
            input_ids=one.token_ids, position_ids=one.positions, packed_bounds=one.bounds, use_cache=False
        ).last_hidden_state[0]
        return last.float()

    first, other, second = ([n * step % vocabulary for n in range(3, 12)] for step in (7, 11, 13))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            after, changed, alone = (
                hidden(first, second)[9:18],
                hidden(other, second)[9:18],
                hidden(second)[:9],
            )
    except (TypeError, AttributeError):
        return False  # a model that does not know these arguments: padded rows are right for every model
    finally:
        model.train(training)

    def far(one: Tensor, other: Tensor) -> float:
        return float((one - other).norm() / other.norm())

    # not bit for bit: experts sum in another order, and products of other sizes use other kernels
    return far(after, changed) < _ROUNDING and far(after, alone) < _KERNELS


def forward(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_bounds: tuple[int, ...] = (),
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: query [lines, heads, tokens, width], key and value with fewer heads.

    The result is [lines, tokens, heads, value width].
    """
    from weightwright.kernels.step import Rules

    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rules = Rules(scale, sliding_window or 0, softcap or 0.0, s_aux)
    bounds = packed_bounds or (0, query.shape[2])
    if not dropout and _is_short(query, max(b - a for a, b in pairwise(bounds)), rules):
        out: Tensor = _Causal.apply(query, key, value, bounds, scale)
        return out, None
    parts = [
        _attend(query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], rules, dropout)
        for a, b in pairwise(bounds)
    ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out.transpose(1, 2), None


def _is_short(query: Tensor, tokens: int, rules: Any) -> bool:
    """Whether rows of up to `tokens` tokens use plain products instead of the flash kernel."""
    plain = not rules.cap and rules.sinks is None and not 0 < rules.window < tokens
    return plain and query.device.type == "cpu" and tokens <= LONGEST


def _attend(query: Tensor, key: Tensor, value: Tensor, rules: Any, dropout: float) -> Tensor:
    """Causal attention among the tokens of one row: [lines, heads, tokens, value width]."""
    tokens = query.shape[2]
    windowed = 0 < rules.window < tokens
    if rules.cap or rules.sinks is not None or windowed:
        from weightwright.kernels.seen import attend_seen

        places = torch.arange(tokens, device=query.device)
        seen = places[None] <= places[:, None]
        if windowed:
            seen &= places[None] > places[:, None] - rules.window
        return attend_seen(query, key, value, seen, rules)
    if not dropout and _is_short(query, tokens, rules):
        out: Tensor = _Causal.apply(query, key, value, (0, tokens), rules.scale)
        return out.transpose(1, 2)
    return F.scaled_dot_product_attention(
        query, key, value, is_causal=True, dropout_p=dropout, scale=rules.scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )  # fmt: skip


class _Causal(torch.autograd.Function):  # type: ignore[misc]
    """softmax(scale·q·kᵀ, causal)·v of each row between the bounds: [lines, tokens, heads, value width].

    Heads that share keys are batched into one product. The backward pass recomputes the weights: if kept, their sizes
    would differ from pass to pass and fragment the allocator's heap. Rows are padded to few distinct lengths: oneDNN
    keeps 0.7 MB for each length that it has met.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bounds: tuple[int, ...], scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.bounds, ctx.scale = bounds, scale
        lines, heads, tokens, _ = query.shape
        out = query.new_empty(lines, tokens, heads, value.shape[-1])
        for a, b in pairwise(bounds):
            q, k, v = (_rows(x, a, b, key.shape[1]) for x in (query, key, value))
            _put(out, a, b, torch.bmm(_weights(q, k, scale), v))
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        heads = inputs[1].shape[1]
        gradients = [x.new_empty(x.shape[0], x.shape[2], x.shape[1], x.shape[3]) for x in inputs]
        for a, b in pairwise(ctx.bounds):
            q, k, v = (_rows(x, a, b, heads) for x in inputs)
            grad = _rows(outer[0].transpose(1, 2), a, b, heads)
            weights = _weights(q, k, ctx.scale)
            _put(gradients[2], a, b, torch.bmm(weights.transpose(1, 2), grad))
            scores = torch.bmm(grad, v.transpose(1, 2))
            size = k.shape[1]
            _softmax_gradient(weights.view(-1, size), scores.view(-1, size), ctx.scale)
            _put(gradients[0], a, b, torch.bmm(scores, k))
            _put(gradients[1], a, b, torch.bmm(scores.transpose(1, 2), q))
        return *(x.transpose(1, 2) for x in gradients), None, None


def _rows(x: Tensor, a: int, b: int, heads: int) -> Tensor:
    """Tokens a to b of x [lines, all heads, tokens, width], padded with zeros: [lines · heads, .., width]."""
    size = padded_rows(b - a)
    if size == b - a:
        padded = x[:, :, a:b].contiguous()
    else:
        padded = x.new_zeros(*x.shape[:2], size, x.shape[3])
        padded[:, :, : b - a] = x[:, :, a:b]
    return padded.view(x.shape[0] * heads, -1, x.shape[3])


def _put(out: Tensor, a: int, b: int, rows: Tensor) -> None:
    """Write rows laid out by `_rows` into tokens a to b of out [lines, tokens, all heads, width]."""
    lines, _, heads, width = out.shape
    out[:, a:b] = rows.view(lines, heads, -1, width)[:, :, : b - a].transpose(1, 2)


def _weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Causal attention weights [n, rows, tokens] for q [n, rows, width] and k [n, tokens, width]."""
    weights = torch.bmm(q, k.transpose(1, 2))
    _softmax(weights.view(-1, k.shape[1]), scale)
    return weights


def _softmax(scores: Tensor, scale: float) -> None:
    """Overwrite scores [n, tokens] with their causal softmax."""
    if kernels.runs_on(scores):
        kernels.causal_softmax(scores, scale)
        return
    tokens = scores.shape[1]
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu_(1)
    scores.view(-1, tokens, tokens).mul_(scale).masked_fill_(future, float("-inf"))
    scores.copy_(torch.softmax(scores, dim=-1))


def _softmax_gradient(weights: Tensor, grad: Tensor, scale: float) -> None:
    """Overwrite `grad`, the gradient of the weights [n, tokens], with the gradient of the scores."""
    if kernels.runs_on(weights):
        kernels.causal_softmax_gradient(weights, grad, scale)
        return
    grad.copy_(torch._softmax_backward_data(grad, weights, -1, weights.dtype)).mul_(scale)
