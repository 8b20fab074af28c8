"""Our attention function, registered with transformers: packed rows over a paged cache.

transformers' models call it with queries, keys and values of all tokens of a step, [1, heads, tokens,
width], after the position embedding; `Step` says which token belongs to which sequence. Sliding windows,
soft-capping and attention sinks arrive as arguments. Nothing of a model's file is copied.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightwright.kernels.cache import LayerShape
from weightwright.kernels.seen import attend_seen
from weightwright.kernels.step import Rules, Segment, Step
from weightwright.weights.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor

NAME = "weightwright_paged"
_current = threading.local()  # the Step or Probe of the forward pass that runs in this thread


@dataclass
class Probe:
    """Learns what each layer keeps, from one pass through the model without a cache."""

    shapes: dict[int, LayerShape] = field(default_factory=dict)


@contextlib.contextmanager
def using(step: Step | Probe) -> Iterator[None]:
    """Let forward passes in this thread attend by `step`."""
    _current.value = step
    try:
        yield
    finally:
        _current.value = None


def use(model: Any) -> None:
    """Let a transformers model attend through `paged_attention`. Raises ValueError where it cannot."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, paged_attention)
    with quiet():  # of models that look it up in another way transformers says that they cannot
        model.set_attn_implementation(NAME)
    model.config._attn_implementation = NAME  # where code for older transformers looks it up


def paged_attention(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None" = None,  # noqa: ARG001 - by its name, as some models pass it
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: "Tensor | None" = None,
    **_: Any,
) -> "tuple[Tensor, None]":
    """Transformers' attention interface: query [1, heads, tokens, width] -> [1, tokens, heads, width]."""
    step = _current.value
    queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer = module.layer_idx
    if isinstance(step, Probe):
        step.shapes[layer] = LayerShape(key.shape[1], key.shape[-1], value.shape[-1])
        return queries.new_zeros(1, *queries.shape[:2], value.shape[-1]), None
    step.cache.write(layer, keys, values, step.slots)
    rules = Rules(scale, sliding_window or 0, softcap or 0.0, s_aux)
    out = queries.new_empty(*queries.shape[:2], values.shape[-1])
    if step.singles:
        out[: step.singles] = attend_singles(step, layer, queries[: step.singles], rules)
    if step.segments and segments_by_kernel(step, layer, rules):
        from weightwright.kernels import segments

        seen = segments.attend(step, layer, (queries.float() * scale).contiguous(), rules)
        out[step.singles :] = seen[step.singles :]
        return out[None], None
    for segment in step.segments:
        rows = slice(segment.start, segment.start + segment.count)
        out[rows] = attend_segment(step, layer, segment, queries[rows], keys[rows], values[rows], rules)
    return out[None], None


def attend_singles(step: Step, layer: int, queries: "Tensor", rules: Rules) -> "Tensor":
    """One token per row: queries [rows, heads, width] over the cache -> [rows, heads, value_width]."""
    import torch

    if step.native:
        from weightwright.kernels.attend import attend

        return attend(step, layer, queries, rules).to(queries.dtype)
    keys, values = step.cache.read(layer, step.tables.long(), queries.dtype)
    places = torch.arange(keys.shape[2], device=queries.device)[None]
    seen = places < step.lengths[:, None]
    if rules.window:
        seen &= places >= step.lengths[:, None] - rules.window
    return attend_seen(queries[:, :, None], keys, values, seen[:, None, None], rules)[:, :, 0]


def segments_by_kernel(step: Step, layer: int, rules: Rules) -> bool:
    """Whether `kernels.segments` attends the segments of this layer."""
    if not step.native or rules.cap or rules.sinks is not None:
        return False
    from weightwright.kernels import segments

    shape = step.cache.shapes[layer]
    return segments.supported(shape.key_width, shape.value_width, step.cache.kind)


def attend_segment(
    step: Step,
    layer: int,
    segment: Segment,
    queries: "Tensor",
    keys: "Tensor",
    values: "Tensor",
    rules: Rules,
) -> "Tensor":
    """Several tokens of one sequence: queries [count, heads, width] -> [count, heads, value_width].

    `keys` and `values` are those of these tokens; what came before them is read from the cache.
    """
    import torch

    before = segment.length - segment.count
    if before or step.cache.scaled:
        gathered = step.cache.read(layer, segment.table[None], queries.dtype)
        all_keys, all_values = (x[:, :, : segment.length] for x in gathered)
    else:
        all_keys, all_values = (x.transpose(0, 1)[None] for x in (keys, values))
    queries = queries.transpose(0, 1)[None]
    if not before and not rules.window:
        return attend_seen(queries, all_keys, all_values, None, rules)[0].transpose(0, 1)
    places = torch.arange(segment.length, device=queries.device)
    seen = places[None] <= places[before:, None]
    if rules.window:
        seen &= places[None] > places[before:, None] - rules.window
    return attend_seen(queries, all_keys, all_values, seen[None, None], rules)[0].transpose(0, 1)
