"""Rotary embeddings that depend on how long the longest row of a batch is (`dynamic`, `longrope`)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHANGING = {"dynamic", "longrope"}


def steady_tokens(config: Any) -> int:
    """The length in tokens up to which a row's rotary embedding does not depend on the rows beside it.

    transformers chooses it for a whole batch by the highest position: beyond the original context `longrope` takes
    other factors, `dynamic` others for each length.
    """
    rope = _rope(config)
    if rope.get("rope_type") not in CHANGING:
        return sys.maxsize
    text = config.get_text_config()
    original = rope.get("original_max_position_embeddings")
    original = original or getattr(text, "original_max_position_embeddings", None)
    return int(original or text.max_position_embeddings)


def differs_by_length(config: Any) -> bool:
    """Whether beyond `steady_tokens` each length has an embedding of its own, which no row of another can share."""
    return _rope(config).get("rope_type") == "dynamic"


@contextmanager
def chosen_for_each_pass(model: Any) -> Iterator[None]:
    """Let each pass take the `dynamic` embedding of its own length: transformers keeps that of the longest so far."""

    def forget(module: Any, _inputs: Any) -> None:
        module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)
        module.max_seq_len_cached = module.original_max_seq_len

    hooks = [
        module.register_forward_pre_hook(forget)
        for module in model.modules() if getattr(module, "rope_type", None) == "dynamic"
    ]  # fmt: skip
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _rope(config: Any) -> dict[str, Any]:
    return getattr(config.get_text_config(), "rope_parameters", None) or {}
