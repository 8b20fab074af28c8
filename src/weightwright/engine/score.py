"""Log-likelihoods of given completions after a prompt, computed in the same steps as everything else.

Completions of one prompt share its blocks, so its tokens are read once.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.engine.schedule import Schedule, Work
from weightwright.engine.sequence import Sequence as Tokens
from weightwright.errors import RequestError
from weightwright.ports import Score

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Item:
    """One completion: all tokens, and where its own begin."""

    token_ids: list[int]
    start: int
    log_likelihood: float = 0.0
    scored: int = 0
    is_greedy: bool = True


@dataclass(eq=False)
class Group:
    """The completions of one call."""

    items: list[Item]
    adapter: str | None
    future: "Future[list[Score]]"
    tokens: list[Tokens]


class Scoring:
    """The scores under way; the engine's thread alone calls all but `items`."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._items: dict[Tokens, tuple[Group, Item]] = {}

    def items(
        self, tokenizer: Any, prompt: str, completions: Sequence[str], context_tokens: int
    ) -> list[Item]:
        """The tokens to score. Raises RequestError when a completion has none of its own or does not fit."""
        start = len(tokenizer.encode(prompt))
        items = []
        for completion in completions:
            ids = tokenizer.encode(prompt + completion)
            if not 0 < start < len(ids):
                raise RequestError(f"nothing to score: prompt {prompt!r}, completion {completion!r}")
            if len(ids) > context_tokens:
                raise RequestError(f"{len(ids)} tokens do not fit into the context of {context_tokens}")
            items.append(Item(ids, start))
        return items

    def start(
        self, items: list[Item], salt: bytes, adapter: str | None, future: "Future[list[Score]]"
    ) -> None:
        """Queue the completions; `future` gets their scores, in order, or the error."""
        group = Group(items, adapter, future, [])
        if not items:
            future.set_result([])
        for item in items:
            # the last token is only a target; the model need not read it
            tokens = Tokens(item.token_ids[:-1], len(item.token_ids) - 1, 1, salt=salt)
            tokens.logits_from = item.start - 1
            try:
                self._schedule.add(tokens)
            except RequestError as error:
                self._drop(group, error)
                return
            group.tokens.append(tokens)
            self._items[tokens] = (group, item)

    def adapter(self, tokens: Tokens) -> str | None:
        """The adapter that a sequence is scored with."""
        return self._items[tokens][0].adapter

    def take(self, work: Work, logits: "Tensor") -> None:
        """The logits [positions, vocab] of the last positions of a work."""
        _, item = self._items[work.sequence]
        first = work.start + len(work.tokens) - work.logits
        done = item.start - 1 + item.scored  # positions before it were scored before a preemption
        logits = logits[done - first :]
        ids = item.token_ids[done + 1 : done + 1 + len(logits)]
        logprobs = logits.log_softmax(dim=-1)
        chosen = logprobs[range(len(ids)), ids]
        item.log_likelihood += float(chosen.double().sum())
        item.is_greedy = item.is_greedy and bool((chosen >= logprobs.amax(dim=-1)).all())
        item.scored += len(ids)

    def commit(self, work: Work) -> None:
        """A step with this work is over."""
        self._schedule.commit(work)
        found = self._items.get(work.sequence)
        if found is None:
            return
        group, item = found
        if item.scored == len(item.token_ids) - item.start:
            self._schedule.finish(work.sequence)
            del self._items[work.sequence]
            if all(i.scored == len(i.token_ids) - i.start for i in group.items):
                group.future.set_result([Score(i.log_likelihood, i.scored, i.is_greedy) for i in group.items])

    def fail(self, tokens: Tokens, error: Exception) -> None:
        """End the call that a sequence belongs to."""
        if tokens in self._items:
            self._drop(self._items[tokens][0], error)

    def stop(self) -> None:
        """End all calls."""
        for group, _ in list(self._items.values()):
            self._drop(group, RequestError("the engine is closed"))

    def _drop(self, group: Group, error: Exception) -> None:
        for tokens in group.tokens:
            self._items.pop(tokens, None)
            self._schedule.finish(tokens)
        if not group.future.done():
            group.future.set_exception(error)
