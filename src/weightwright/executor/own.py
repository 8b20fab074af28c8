"""Models that keep what they have read in a way of their own: state-space and hybrid ones, old kinds of attention.

Each sequence has a cache as transformers makes it for the model, and is computed by transformers' own layers: what
it is given to read alone, single tokens together with those of others (`stacked`) where that gives the same logits.
So any family runs, but sequences do not share what they begin with.
"""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from weightwright.executor import attention
from weightwright.executor.execute import Packer, pack_and_wrap
from weightwright.executor.stacked import Row, Stack
from weightwright.kernels.cache import BLOCK_TOKENS
from weightwright.kernels.step import Holder, Step
from weightwright.weights.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.executor.lora import AdapterBank
    from weightwright.kernels.cache import LayerShape

_CACHES = ("cache", "past_key_values", "cache_params")  # what forward passes call it


class OwnCaches:
    """See `execute.Executor`; `block_bytes` and `state_bytes` are what a block of tokens and a sequence take.

    The linear layers of `model` are packed in place. With `singles` several tokens that follow others are read one by
    one: code of some state-space models begins anew with each pass of several. With `together` single tokens of
    several sequences share a pass. `executor.trial` tells of both.
    """

    def __init__(
        self,
        model: Any,
        pack: Packer,
        bank: "AdapterBank",
        experts: Packer | None = None,
        *,
        singles: bool = False,
        together: bool = False,
    ) -> None:
        self.shapes: list[LayerShape] = []  # it has no part in the paged cache
        self._model, self._bank, self._singles = model, bank, singles
        self.together = together
        use_own_attention(model)
        few, many = (_cache_bytes(model, count) for count in (BLOCK_TOKENS, 3 * BLOCK_TOKENS))
        self.block_bytes = (many - few) // 2
        self.state_bytes = few - self.block_bytes
        pack_and_wrap(model, pack, bank, experts=experts)

    def forward(
        self, ids: "Tensor", positions: "Tensor", step: Step, rows: "Tensor", states: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor | None]":
        """See `Executor`."""
        import torch

        logits: dict[int, Tensor] = {}
        hidden: dict[int, Tensor] = {}
        wanted, seen = rows.tolist(), [] if states is None else states.tolist()
        adapters = None if self._bank.rows is None else self._bank.rows.slots
        chooses = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        for holders, part in self._passes(step, positions, seen):
            mine = [row for row in wanted if row in part]
            last = [row for row in seen if row in part]
            several = len(holders) > 1
            if adapters is not None:
                self._bank.rows = self._bank.batch(adapters[row] for row in part)
                shown = mine if chooses and not several else part
                self._bank.head_rows = self._bank.batch(adapters[row] for row in shown)
            if several:
                found = run_together(self._model, ids[part], self._stack(holders, positions[part].tolist()))
                logits |= {row: one for row, one in zip(part, found, strict=True) if row in mine}
                continue
            (holder,), start = holders, int(positions[part[0]])
            if isinstance(holder.state, Row):
                holder.state = holder.state.alone()
            if not start:
                holder.state = new_cache(self._model)
            one, states_of_all = run(
                self._model, ids[None, part], holder.state, start, [row - part[0] for row in mine],
                want_states=bool(last),
            )  # fmt: skip
            logits |= dict(zip(mine, one, strict=True))
            hidden |= {row: states_of_all[row - part[0]] for row in last}
        width = self._model.get_output_embeddings().out_features
        out = torch.stack([logits[row] for row in wanted]) if wanted else torch.empty(0, width)
        return out.float(), None if states is None else torch.stack([hidden[row] for row in seen]).float()

    def _passes(
        self, step: Step, positions: "Tensor", seen: list[int]
    ) -> "Iterator[tuple[list[Holder], list[int]]]":
        """The sequences of each pass, and its rows: single tokens that follow others together, all else alone."""
        start, together = 0, list[tuple[Holder, int]]()
        for holder, count in step.holders:
            if self.together and count == 1 and positions[start] and start not in seen:
                together.append((holder, start))
                start += 1
                continue
            size = 1 if self._singles and positions[start] else count
            for first in range(start, start + count, size):
                yield [holder], [*range(first, first + size)]
            start += count
        if together:
            yield [holder for holder, _ in together], [row for _, row in together]

    def _stack(self, holders: "list[Holder]", lengths: list[int]) -> Stack:
        """The caches of these sequences as one, which they keep as long as they go on together."""
        states = [holder.state for holder in holders]
        if isinstance(states[0], Row) and states[0].stack.holds(states):
            return states[0].stack
        stack = Stack(states, lengths)
        for holder, row in zip(holders, stack.rows(), strict=True):
            holder.state = row
        return stack


def run_together(model: Any, ids: "Tensor", stack: Stack) -> "Tensor":
    """The next token of each sequence of a stack, [rows]: logits [rows, vocab]."""
    import torch

    known = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"use_cache": True, _cache_name(known): stack.cache}
    if "position_ids" in known:
        options["position_ids"] = torch.tensor(stack.lengths, device=ids.device)[:, None]
    if "logits_to_keep" in known:
        options["logits_to_keep"] = 1
    mask = stack.mask(ids.device)
    if mask is not None:
        options["attention_mask"] = mask
    with torch.inference_mode():
        logits = model(input_ids=ids[:, None], **options).logits[:, -1]
    stack.grown()
    return logits


def run(
    model: Any, ids: "Tensor", cache: Any, start: int, rows: list[int], *, want_states: bool = False
) -> "tuple[Tensor, Tensor]":
    """Tokens [1, tokens] after `start` others in `cache`: logits [rows, vocab], last hidden states [tokens, hidden].

    Without `want_states` there are no hidden states.
    """
    import torch

    known = inspect.signature(model.forward).parameters
    wanted = torch.tensor(rows, dtype=torch.long, device=ids.device)
    options: dict[str, Any] = {"use_cache": True, _cache_name(known): cache}
    if "position_ids" in known:
        options["position_ids"] = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
    if "logits_to_keep" in known:
        options["logits_to_keep"] = wanted
    seen: list[Any] = []
    hook = (
        model.base_model.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0][0]))
        if want_states
        else None
    )
    try:
        with torch.inference_mode():
            logits = model(input_ids=ids, **options).logits[0]
    finally:
        if hook is not None:
            hook.remove()
    return logits if "logits_to_keep" in known else logits[wanted], seen[0] if seen else logits


def new_cache(model: Any) -> Any:
    """An empty cache as the model's layers want it."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config.get_text_config(decoder=True))


def use_own_attention(model: Any) -> None:
    """Let the model attend as it does by itself: over a cache that it is given."""
    for name in ("sdpa", "eager"):
        try:
            with quiet():
                model.set_attn_implementation(name)
        except (ValueError, KeyError, AttributeError, ImportError):
            continue
        break
    if model.config._attn_implementation == attention.NAME:  # code for older transformers looks it up there
        model.config._attn_implementation = "eager"


def _cache_name(known: Any) -> str:
    return next((name for name in _CACHES if name in known), _CACHES[0])


def _cache_bytes(model: Any, tokens: int) -> int:
    """Bytes that the cache of a sequence of so many tokens holds."""
    import torch

    cache = new_cache(model)
    run(model, torch.ones(1, tokens, dtype=torch.long, device=model.device), cache, 0, [0])
    tensors: dict[int, Tensor] = {}
    for layer in cache.layers:
        for value in vars(layer).values():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, torch.Tensor):
                    tensors[id(one)] = one
    return sum(one.nbytes for one in tensors.values())
