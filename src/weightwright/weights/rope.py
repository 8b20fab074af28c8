"""Rotary embeddings that depend on how long the longest row of a batch is (`dynamic`, `longrope`)."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
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


@contextmanager
def chosen_for_each_row(model: Any) -> Iterator[None]:
    """Let each row take the rotary embedding of its own length.

    transformers takes that of a pass's longest row for all, and `dynamic` that of the longest so far. A row begins
    with each line and each position 0 of `position_ids` [lines, width].
    """
    import torch

    def of_rows(module: Any) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        inner = module.forward

        def forward(x: torch.Tensor, position_ids: torch.Tensor, **options: Any) -> Any:
            lines = []
            for line in position_ids:
                starts = (line == 0).nonzero().flatten().tolist()
                bounds = sorted({0, *starts, len(line)})
                parts = [alone(x, line[None, a:b], **options) for a, b in pairwise(bounds)]
                lines.append(tuple(torch.cat(same, dim=1) for same in zip(*parts, strict=True)))
            return tuple(torch.cat(same) for same in zip(*lines, strict=True))

        def alone(x: torch.Tensor, positions: torch.Tensor, **options: Any) -> Any:
            if module.rope_type == "dynamic":
                module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)
                module.max_seq_len_cached = module.original_max_seq_len
            return inner(x, positions, **options)

        return forward

    modules = [
        module for module in model.modules()
        if isinstance(kind := getattr(module, "rope_type", None), str) and kind in CHANGING
    ]  # fmt: skip
    for module in modules:
        module.forward = of_rows(module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _rope(config: Any) -> dict[str, Any]:
    return getattr(config.get_text_config(), "rope_parameters", None) or {}
