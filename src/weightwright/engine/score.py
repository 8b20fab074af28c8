"""Log-likelihoods of given completions after a prompt, computed in the same steps as everything else.

Completions of one prompt share its blocks, so its tokens are read once.
"""

from collections import abc
from dataclasses import dataclass

from weightwright.engine.call_owner import Call, CallOwner
from weightwright.engine.sequence import Output, Sequence, Share
from weightwright.errors import RequestError
from weightwright.ports import Score, Tokenizer


@dataclass
class Item:
    """One completion: all tokens, and where its own begin."""

    token_ids: list[int]
    start: int
    log_likelihood: float = 0.0
    scored: int = 0
    is_greedy: bool = True

    @property
    def done(self) -> bool:
        """All of its tokens are scored."""
        return self.scored == len(self.token_ids) - self.start


def items_of(
    tokenizer: Tokenizer, prompt: str, completions: abc.Sequence[str], context_tokens: int
) -> list[Item]:
    """The tokens to score: all behind the common beginning of the prompt's tokens and the whole text's.

    Where a token reaches across the join ("is " + "Paris" is "is", " Paris"), it is the completion's. Raises
    RequestError for an empty completion, for one that does not fit, and for a prompt that leaves no token before it.
    """
    prompt_ids = list(tokenizer.encode(prompt))
    items = []
    for completion in completions:
        ids = list(tokenizer.encode(prompt + completion))
        start = _common(prompt_ids, ids)
        if not start:
            raise RequestError(
                f"no token comes before the completion {completion!r}: the prompt is {prompt!r}"
            )
        if start == len(ids):
            raise RequestError(f"nothing to score: the completion {completion!r} adds no token to {prompt!r}")
        if len(ids) > context_tokens:
            raise RequestError(f"{len(ids)} tokens do not fit into the context of {context_tokens}")
        items.append(Item(ids, start))
    return items


class Scores(CallOwner[Item]):
    """Owns the sequences that are scored."""

    def start(self, call: Call[Item], salt: bytes) -> None:
        """Queue the completions."""
        if not call.parts:
            call.future.set_result([])
        for item in call.parts:
            # the last token is only a target; the model need not read it
            sequence = Sequence(
                item.token_ids[:-1], len(item.token_ids) - 1, 1, salt=salt, logits_from=item.start - 1,
                background=True, adapter=call.adapter, owner=self,
            )  # fmt: skip
            if not self._queue(call, item, sequence):
                return

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """See `Owner`: logits of the last positions of each work."""
        for work, at in shares:
            known = self._parts.get(work.sequence)
            if known is None:  # its call failed in this step
                continue
            call, item = known
            first = work.start + len(work.tokens) - work.logits
            done = item.start - 1 + item.scored  # positions before it were scored before a preemption
            logits = output.logits[at + done - first : at + work.logits]
            ids = item.token_ids[done + 1 : done + 1 + len(logits)]
            if ids:
                logprobs = logits.log_softmax(dim=-1)
                chosen = logprobs[range(len(ids)), ids]
                item.log_likelihood += float(chosen.double().sum())
                item.is_greedy = item.is_greedy and bool((chosen >= logprobs.amax(dim=-1)).all())
                item.scored += len(ids)
            self._schedule.commit(work)
            if item.done and self._finish(call, work.sequence):
                call.future.set_result([Score(i.log_likelihood, i.scored, i.is_greedy) for i in call.parts])


def _common(some: abc.Sequence[int], others: abc.Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(some), len(others)))
