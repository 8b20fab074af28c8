"""The model's forward passes over a batch of sequences of unequal length.

Rows are padded on the left, so that all rows end at the same place: a step appends one column, a new
row joins by being padded to the common length, a finished row is dropped and common padding with it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weightwright.engine.adapters import Adapters
from weightwright.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention"}


class Runner:
    """Holds the rows' KV cache [rows, heads, length, width] per layer; row i is the caller's row i."""

    def __init__(self, model: Any, adapters: Adapters) -> None:
        kinds = set(getattr(model.config, "layer_types", None) or ()) - _ATTENTION
        if kinds:
            raise ModelError(
                f"{type(model).__name__} has layers of kind {', '.join(sorted(kinds))}; "
                "this engine runs attention layers only"
            )
        self._adapters = adapters
        self._cache: Any = None
        self._mask: Tensor | None = None  # [rows, length] 1 where a token stands
        self._names: list[str | None] = []

    def prefill(self, prompts: Sequence[Sequence[int]], names: Sequence[str | None]) -> "Tensor":
        """Read prompts, append them as rows; logits after each, [prompts, vocab] f32."""
        import torch
        from transformers import DynamicCache

        length = max(map(len, prompts))
        ids = torch.tensor([[0] * (length - len(p)) + list(p) for p in prompts])
        mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
        cache = DynamicCache()
        logits = self._forward(ids, mask, cache, list(names))
        if self._mask is None:
            self._cache, self._mask = cache, mask
        else:
            self._join(cache, mask)
        self._names += names
        return logits

    def decode(self, token_ids: Sequence[int]) -> "Tensor":
        """Read one token per row; logits after each, [rows, vocab] f32."""
        import torch

        assert self._mask is not None
        ids = torch.tensor(token_ids)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        return self._forward(ids, self._mask, self._cache, self._names)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, and the padding that all of them share."""
        import torch

        self._names = [self._names[row] for row in rows]
        if not rows:
            self._cache = self._mask = None
            return
        assert self._mask is not None
        chosen = torch.tensor(rows)
        mask = self._mask[chosen]
        first = int(mask.argmax(dim=1).min())
        self._mask = mask[:, first:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[chosen.to(layer.keys.device), :, first:]
            layer.values = layer.values[chosen.to(layer.values.device), :, first:]

    def _join(self, cache: Any, mask: "Tensor") -> None:
        """Append rows to the cache, both padded on the left to the longer length."""
        import torch
        from torch.nn.functional import pad

        assert self._mask is not None
        length = max(mask.shape[1], self._mask.shape[1])

        def padded(x: "Tensor") -> "Tensor":
            return pad(x, (0, 0, length - x.shape[2], 0))

        for mine, new in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([padded(mine.keys), padded(new.keys)])
            mine.values = torch.cat([padded(mine.values), padded(new.values)])
        masks = [pad(m, (length - m.shape[1], 0)) for m in (self._mask, mask)]
        self._mask = torch.cat(masks)

    def _forward(self, ids: "Tensor", mask: "Tensor", cache: Any, names: list[str | None]) -> "Tensor":
        device = self._adapters.device
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._adapters.forward(
            names,
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float().cpu()
