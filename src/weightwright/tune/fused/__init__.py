"""Layers of a transformers model as single autograd steps: less is kept for the backward pass, and less is copied.

A layer is taken by its structure, and only where its outcome was seen to be the same by trying; all others keep their
own forward pass.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from weightwright.tune.attention import Asked, asked
from weightwright.tune.fused import layer, lora, mlp, norm
from weightwright.tune.fused.int8 import int8_products

__all__ = ["fuse", "int8_products", "whole_layers"]

_TRIED_TOKENS = 4
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}  # of the largest outcome


def fuse(model: nn.Module) -> Callable[[], None]:
    """Replace forward passes in `model`, whose layers have their adapters; the result undoes it."""
    forwards = dict(_fused(model))
    for module, forward in forwards.items():
        module.forward = forward

    def undo() -> None:
        for module in forwards:
            module.__dict__.pop("forward", None)

    return undo


@contextmanager
def whole_layers(model: Any, recomputes: bool | str = False) -> Iterator[int]:
    """Let decoder layers of the usual kind on a CPU run as a whole while the block runs; how many there are.

    Where gate and up are recomputed (`mlp`) they do it themselves; true leaves all layers to torch's checkpointing.

    A layer's rules, and that its outcome is the same, are seen by running the model, whose attention is ours.
    """
    own = model.device.type == "cpu" and recomputes is not True
    forwards = dict(_whole(model, again=recomputes == "mlp")) if own else {}
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield len(forwards)
    finally:
        for module in forwards:
            module.__dict__.pop("forward", None)


def _whole(model: Any, *, again: bool) -> Iterator[tuple[nn.Module, Callable[..., Tensor]]]:
    usual = [module for module in model.modules() if layer.is_usual(module)]
    calls: dict[nn.Module, tuple[dict[str, Any], Any]] = {}

    def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
        calls[module] = ({"hidden_states": given[0], **named} if given else named), result

    ids = torch.arange(2 * _TRIED_TOKENS).remainder(model.config.get_text_config().vocab_size)[None]
    hooks = [module.register_forward_hook(note, with_kwargs=True) for module in usual]
    try:
        rules = asked(model, lambda: model.base_model(input_ids=ids, use_cache=False)) if usual else {}
    finally:
        for hook in hooks:
            hook.remove()
    for module in usual:
        given, own = calls.get(module, ({}, None))
        wanted = rules.get(module.self_attn)
        if wanted is None or not _knows(wanted, given, own):
            continue
        forward = layer.forward_of(
            module, layer.Rules(wanted.width, wanted.scale, wanted.window), again=again
        )
        with torch.no_grad():
            if _close(own, forward(**given)):
                yield module, forward


def _knows(wanted: Asked, given: dict[str, Any], own: Any) -> bool:
    """Whether a whole layer can do what its attention asked for, with what it was given."""
    turns = given.get("position_embeddings")
    return (
        wanted.plain
        and isinstance(own, Tensor)
        and isinstance(turns, tuple)
        and all(one.shape[-1] == wanted.width for one in turns)
    )


def _fused(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    works: dict[tuple[object, ...], bool] = {}  # what was tried, once for each kind of layer
    first = next((weight for weight in model.parameters() if weight.is_floating_point()), torch.empty(0))
    for module in model.modules():
        if forward := lora.forward_of(module):
            yield module, forward
        for kind, width in ((mlp, _mlp_width), (norm, _norm_width)):
            if forward := kind.forward_of(module):
                key = kind.key_of(module)
                if key not in works:
                    x = torch.randn(
                        1, _TRIED_TOKENS, width(module), generator=torch.Generator().manual_seed(0)
                    )
                    works[key] = _is_same(module, forward, x.to(first))
                if works[key]:
                    yield module, forward


def _mlp_width(module: Any) -> int:
    return int(module.gate_proj.in_features)


def _norm_width(module: Any) -> int:
    return int(module.weight.shape[0])


def _is_same(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether both forward passes give the same for tokens x [1, tokens, width] in what the model computes in."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            own, other = module(x), forward(x)
    finally:
        module.train(training)
    return _close(own, other)


def _close(own: Tensor, other: Tensor) -> bool:
    if own.shape != other.shape:
        return False
    return float((own - other).abs().max()) <= _TOLERANCE.get(own.dtype, 0.0) * float(own.abs().max())
