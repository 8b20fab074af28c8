"""Causal attention for training: packed rows never attend to each other, and go on from what they share.

The segments of packed rows arrive as the keyword `packed_tree`: transformers' models pass it to the attention
function, also when activations are recomputed. On a CPU `kernels.tree` computes it; what that does not know (caps,
sinks, dropout) and other devices have torch's operators, a segment at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from weightwright.kernels import tree as kernels
from weightwright.kernels.seen import attend_seen
from weightwright.kernels.tree import Tree
from weightwright.tune.prefixes import LEAST
from weightwright.weights.families import is_paged, transformers_types

NAME = "weightwright-rows"
_NOTING = "weightwright-noting"
# relative differences in bf16: from another order of sums, and from another kernel (4-bit kernels round most);
# attending to another row, or positions that do not restart, differ far more
_ROUNDING, _KERNELS = 0.02, 0.2


@contextmanager
def row_attention(model: Any) -> Iterator[None]:
    """Let a model use this attention while the block runs, where it goes through transformers' interface.

    transformers makes no mask for a name it has none for; windows, caps and sinks come with each call. Families with
    masks of other kinds keep their own attention.
    """
    from transformers import AttentionInterface

    before = model.config._attn_implementation
    if _has_other_masks(model.config) or before not in ("sdpa", "eager"):
        yield
        return
    AttentionInterface.register(NAME, forward)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _has_other_masks(config: Any) -> bool:
    """Whether a config is of a family whose attention is more than windows, caps and sinks, or none at all."""
    return config.model_type in transformers_types() and not is_paged(config)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a module asks of attention: the width of its heads, the scale, the window (0: none).

    `plain`: nothing else, and the kernels take its heads.
    """

    width: int
    scale: float
    window: int
    plain: bool


def asked(model: Any, run: Callable[[], object]) -> dict[Any, Asked]:
    """What each module asks of attention while `run` runs the model, which uses `row_attention`."""
    from transformers import AttentionInterface

    found: dict[Any, Asked] = {}

    def noted(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, **rest: Any
    ) -> tuple[Tensor, None]:
        width = query.shape[-1]
        plain = not (rest.get("softcap") or rest.get("dropout")) and rest.get("s_aux") is None
        fits = kernels.runs_on(query, key, value) and key.shape[3] == value.shape[3]
        scale, window = rest.get("scaling"), rest.get("sliding_window")
        found[module] = Asked(width, width**-0.5 if scale is None else scale, window or 0, plain and fits)
        return forward(module, query, key, value, attention_mask, **rest)

    if model.config._attn_implementation != NAME:
        return {}
    AttentionInterface.register(_NOTING, noted)
    training = model.training
    model.set_attn_implementation(_NOTING)
    model.eval()
    try:
        with torch.no_grad():
            run()
    finally:
        model.set_attn_implementation(NAME)
        model.train(training)
    return found


def packs_rightly(model: Any, *, shared: bool = False) -> bool:
    """Whether packed rows get the hidden states of rows alone: found by running the model, not by a list.

    With `shared`, whether they do where what they have in common stands once.
    """
    from weightwright.data.template import Encoded
    from weightwright.errors import Place
    from weightwright.tune.batch import Example, pack

    if _has_other_masks(model.config):  # which need not end with a row that is longer than these
        return False
    vocabulary = int(model.config.get_text_config().vocab_size)

    def hidden(*rows: list[int]) -> list[Tensor]:
        """The last hidden states of each row's own tokens."""
        encoded = [Encoded(tuple(row), (False,) * (len(row) - 9) + (True,) * 9, Place()) for row in rows]
        one = pack([Example((row,)) for row in encoded], model.device, shared=shared)
        last: Tensor = model.base_model(
            input_ids=one.token_ids, position_ids=one.positions, packed_tree=one.tree, use_cache=False
        ).last_hidden_state[0]
        return [last[one.row_ids[0] == n][-9:].float() for n in range(len(rows))]

    begin = [n * 5 % vocabulary for n in range(2 * LEAST if shared else 0)]
    first, other, second = ([*begin, *(n * step % vocabulary for n in range(3, 12))] for step in (7, 11, 13))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            after, changed, alone = hidden(first, second)[1], hidden(other, second)[1], hidden(second)[0]
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
    attention_mask: Tensor | None = None,  # noqa: ARG001 - by its name, as some models pass it
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_tree: Tree | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: query [lines, heads, tokens, width], key and value with fewer heads.

    The result is [lines, tokens, heads, value width].
    """
    from weightwright.kernels.step import Rules

    lines, _heads, tokens, width = query.shape
    scale = width**-0.5 if scaling is None else scaling
    rules = Rules(scale, sliding_window or 0, softcap or 0.0, s_aux)
    tree = packed_tree or Tree.of_lines(lines, tokens)
    if not dropout and not rules.cap and s_aux is None and _kernel_runs(query, key, value):
        out: Tensor = _Attention.apply(*map(_one_line, (query, key, value)), tree, scale, rules.window)
        return out.view(lines, tokens, *out.shape[1:]), None
    if packed_tree is None:
        return _attend(query, key, value, rules, dropout).transpose(1, 2), None
    parts = [_segment(query, key, value, tree, n, rules, dropout) for n in range(len(tree.bounds) - 1)]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out.transpose(1, 2), None


def _kernel_runs(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether the kernels take these heads as they are, or as autocast would make them."""
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        query, key, value = (x[:, :, :1].to(torch.bfloat16) for x in (query, key, value))
    return kernels.runs_on(query, key, value)


def _one_line(x: Tensor) -> Tensor:
    """All lines of x [lines, heads, tokens, width] one behind the other: [heads, lines · tokens, width]."""
    return x.transpose(0, 1).reshape(x.shape[1], -1, x.shape[3])


def _segment(
    query: Tensor, key: Tensor, value: Tensor, tree: Tree, number: int, rules: Any, dropout: float
) -> Tensor:
    """Attention of one segment's tokens over what they see: [lines, heads, tokens, value width]."""
    a, b = tree.range(number)
    if not tree.seen(number):
        return _attend(query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], rules, dropout)
    ranges = [*map(tree.range, tree.seen(number)), (a, b)]
    key, value = (torch.cat([x[:, :, first:end] for first, end in ranges], dim=2) for x in (key, value))
    return _attend(query[:, :, a:b], key, value, rules, dropout)


def _attend(query: Tensor, key: Tensor, value: Tensor, rules: Any, dropout: float) -> Tensor:
    """Causal attention of the last tokens among those of one row: [lines, heads, tokens, value width]."""
    tokens, all_tokens = query.shape[2], key.shape[2]
    windowed = 0 < rules.window < all_tokens
    if not (rules.cap or rules.sinks is not None or windowed or tokens < all_tokens):
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=dropout, scale=rules.scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )  # fmt: skip
    places = torch.arange(all_tokens, device=query.device)
    own = places[all_tokens - tokens :, None]
    seen = places[None] <= own
    if windowed:
        seen &= places[None] > own - rules.window
    return attend_seen(query, key, value, seen, rules)


class _Attention(torch.autograd.Function):  # type: ignore[misc]
    """`kernels.tree.attend`; the backward pass recomputes the weights."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float, window: int
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.rest = tree, scale, window
        return kernels.attend(query, key, value, tree, scale, window)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        grad = outer[0].transpose(0, 1)
        query, key, value = ctx.saved_tensors
        found = kernels.gradients(query, key, value, grad, *ctx.rest)
        return *(x.transpose(0, 1) for x in found), None, None, None
