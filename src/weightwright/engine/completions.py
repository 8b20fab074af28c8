"""The completions under way: from a step's logits to tokens, texts and the next step's guesses."""

from collections import abc
from functools import partial
from typing import TYPE_CHECKING

from weightwright.engine.request import Candidate, Request, take
from weightwright.engine.request_owner import RequestOwner
from weightwright.engine.sampling.draw import NOTHING
from weightwright.engine.sampling.sample import choose, choose_drafted
from weightwright.engine.sequence import Output, Share, Work
from weightwright.engine.speculate import Lookup
from weightwright.ports import TokenLogprob

if TYPE_CHECKING:
    from torch import Tensor

_GUESSES = 7  # tokens guessed at a time where it is left to us
_GUESS_ROWS = 4  # with more sequences than this a step's time grows with its rows, so guesses cost
_WORTH = 0.25  # least moving average of acceptance at which guessing goes on


class Completions(RequestOwner):
    """Owns the sequences of requests that choose token after token."""

    def start(self, request: Request, salt: bytes) -> None:
        """Queue a prepared request; its other completions branch off when the prompt has been read.

        Raises RequestError when it can never fit.
        """
        self._queue(request, request.sequence(salt, self, share_prefix=self._settings.share_prefixes))

    def guess(self) -> None:
        """Give the sequences that may gain by it guesses for their next tokens."""
        count = self._settings.speculate
        if count == 0 or (count is None and len(self._candidates) > _GUESS_ROWS):
            return
        for sequence, candidate in self._candidates.items():
            if sequence.computed != len(sequence.token_ids) - 1:
                continue
            if candidate.lookup is None:
                candidate.lookup = Lookup(sequence.token_ids)
            if count is None and candidate.lookup.acceptance < _WORTH:
                continue
            remaining = candidate.request.max_tokens - candidate.given - 1
            sequence.draft = candidate.lookup.guess(min(count or _GUESSES, remaining))

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """See `Owner`: choose a token for each sequence whose prompt has been read."""
        ready: list[Share] = []
        for work, at in shares:
            candidate = self._candidates.get(work.sequence)
            row = None
            if candidate is not None:
                row = self._logprobs.of_prompt(candidate.request, work, at, output)
            if row is None:
                self._schedule.commit(work)
            else:
                ready.append((work, row))
        self._choose(ready, output.logits)

    # -- choosing tokens ---------------------------------------------------------------------------

    def _choose(self, works: abc.Sequence[Share], logits: "Tensor") -> None:
        plain = [
            (work, at, candidate)
            for work, at in works if not work.sequence.draft for candidate in self._sharing(work)
        ]  # fmt: skip
        if plain:
            own = _at(logits, [at for _, at, _ in plain])
            tokens = choose(own, [candidate.choice for _, _, candidate in plain])
            counts = [candidate.wanted_logprobs for _, _, candidate in plain]
            logprobs = self._logprobs.of(own, tokens, counts)
            for work in dict.fromkeys(work for work, _, _ in plain):
                self._schedule.commit(work)
            self._branch(plain)
            for (_, _, candidate), token, logprob in zip(plain, tokens, logprobs, strict=True):
                self._alone(candidate.request, partial(self._accept, candidate, token, logprob))
        drafted = [(work, at) for work, at in works if work.sequence.draft]
        if drafted:
            self._choose_drafted(drafted, logits)
        for work, _ in works:
            owner = self._candidates.get(work.sequence)
            if owner is not None:
                self._end_done(owner.request)

    def _choose_drafted(self, works: abc.Sequence[Share], logits: "Tensor") -> None:
        candidates = [self._candidates[work.sequence] for work, _ in works]
        drafts = [work.tokens[len(work.tokens) - work.logits + 1 :] for work, _ in works]
        own = _at(logits, [at + i for work, at in works for i in range(work.logits)])
        chosen = choose_drafted(own, [candidate.choice for candidate in candidates], drafts)
        at = 0
        for (work, _), candidate, draft, tokens in zip(works, candidates, drafts, chosen, strict=True):
            counts = [candidate.wanted_logprobs] * len(tokens)
            logprobs = self._logprobs.of(own[at : at + len(tokens)], tokens, counts)
            at += work.logits
            for place, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True), 1):
                if candidate.finish_reason is None:
                    give = partial(self._give, candidate, token, logprob, last=place == len(tokens))
                    self._alone(candidate.request, give)
            right = sum(1 for guess, token in zip(draft, tokens, strict=False) if guess == token)
            if candidate.lookup is not None and draft:
                candidate.lookup.learn(len(draft), right)
            self._schedule.commit(work, len(work.tokens) - len(draft) + min(right, len(tokens) - 1))

    def _accept(self, candidate: Candidate, token: int, logprob: TokenLogprob | None) -> None:
        if token != NOTHING:
            candidate.choice.accept(token)
        self._give(candidate, token, logprob)

    def _give(
        self, candidate: Candidate, token: int, logprob: TokenLogprob | None, *, last: bool = True
    ) -> None:
        """Hand a chosen token to its candidate and to the schedule."""
        sequence = candidate.sequence
        assert sequence is not None
        if token == NOTHING:
            self.fail(sequence, candidate.choice.failure())
            return
        sequence.token_ids.append(token)
        sequence.logits_from = None
        if candidate.lookup is not None:
            candidate.lookup.add(token)
        take(candidate, token, logprob, last=last)

    def _sharing(self, work: Work) -> list[Candidate]:
        """Those that choose from this work's logits: at the end of the prompt all candidates of its request."""
        candidate = self._candidates[work.sequence]
        every = candidate.request.candidates
        return every if every[-1].sequence is None else [candidate]

    def _branch(self, plain: abc.Sequence[tuple[Work, int, Candidate]]) -> None:
        """Let candidates without a sequence of their own branch off the one that read the prompt."""
        for work, _, candidate in plain:
            if candidate.sequence is None:
                self._adopt(candidate, self._schedule.fork(work.sequence))

    def _end_done(self, request: Request) -> None:
        """Release candidates that have ended, and the request with its last one."""
        for candidate in request.candidates:
            if candidate.finish_reason is not None:
                self._release(candidate.sequence)
        if request.done and request in self._requests:
            self._end(request)


def _at(logits: "Tensor", places: abc.Sequence[int]) -> "Tensor":
    """These rows of logits, without a copy where they are all of them."""
    import torch

    if list(places) == list(range(len(logits))):
        return logits
    return logits[torch.tensor(places, device=logits.device)]
