"""The completions under way: from a step's logits to tokens, texts and the next step's guesses."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from weightwright.engine.beam import Beams
from weightwright.engine.request import Model, Row, Running, take
from weightwright.engine.sampling.draw import NOTHING
from weightwright.engine.sampling.sample import Logprobs, choose, choose_drafted, logprobs_of
from weightwright.engine.schedule import Schedule, Work
from weightwright.engine.sequence import Sequence as Tokens
from weightwright.engine.settings import EngineSettings
from weightwright.engine.speculate import Lookup
from weightwright.engine.text import TokenBytes
from weightwright.errors import EngineError
from weightwright.ports import TokenLogprob

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_GUESSES = 7  # tokens guessed at a time where it is left to us
_GUESS_ROWS = 4  # with more sequences than this a step's time grows with its rows, so guesses cost
_WORTH = 0.25  # least moving average of acceptance at which guessing goes on


class Rows:
    """Owns the rows; the engine's thread alone calls it."""

    def __init__(self, model: Model, schedule: Schedule, settings: EngineSettings) -> None:
        self._model = model
        self._schedule = schedule
        self._settings = settings
        self._owners: dict[Tokens, Row] = {}
        self._running: dict[Running, None] = {}  # in order of arrival
        self._beams: dict[Running, Beams] = {}
        self._bytes = TokenBytes(model.tokenizer)

    def owner(self, tokens: Tokens) -> Row | None:
        """The row that a scheduled sequence belongs to."""
        return self._owners.get(tokens)

    def running(self) -> list[Running]:
        """Requests that have not ended."""
        return list(self._running)

    def start(self, running: Running, salt: bytes) -> None:
        """Queue a prepared request; its other completions branch off when the prompt has been read.

        Raises RequestError when it can never fit.
        """
        row, params = running.rows[0], running.request.params
        tokens = Tokens(
            list(running.prompt_ids),
            len(running.prompt_ids),
            running.max_tokens,
            running.request.priority,
            salt,
        )
        if params.prompt_logprobs is not None:
            tokens.logits_from = 0
        if not self._settings.share_prefixes:
            tokens.share_prefix = False
        self._schedule.add(tokens)
        self._running[running] = None
        self._adopt(row, tokens)
        if params.use_beam_search:
            self._beams[running] = Beams(running, self._schedule, self._adopt, self._forget)

    def drop(self, running: Running, end: Callable[[Row], None] | None = None) -> None:
        """Forget a request and free what it holds; `end` says goodbye to its rows."""
        for row in running.rows:
            self._release(row)
            if end is not None:
                end(row)
        if running in self._beams:
            self._beams.pop(running).drop()
        self._running.pop(running, None)
        if running.done:
            running.finish()

    def guess(self) -> None:
        """Give the rows that may gain by it guesses for their next tokens."""
        count = self._settings.speculate
        if count == 0 or (count is None and len(self._owners) > _GUESS_ROWS):
            return
        for tokens, row in self._owners.items():
            if tokens.computed != len(tokens.token_ids) - 1 or row.running in self._beams:
                continue
            if row.lookup is None:
                row.lookup = Lookup(tokens.token_ids)
            if count is None and row.lookup.acceptance < _WORTH:
                continue
            room = row.running.max_tokens - row.given - 1
            tokens.draft = row.lookup.guess(min(count or _GUESSES, room))

    def take(self, works: Sequence[tuple[Work, int]], logits: "Tensor") -> None:
        """Choose tokens from logits [rows, vocab], each work with the row where its own begin; commit the works."""
        ready: list[tuple[Work, int]] = []
        for work, at in works:
            row = self._owners.get(work.sequence)
            first = self._prompt_logprobs(work, row, logits[at : at + work.logits]) if row is not None else 0
            if row is None or first is None:
                self._schedule.commit(work)
            elif row.running in self._beams:
                self._schedule.commit(work)
                beams, own = self._beams[row.running], logits[at + first]
                self._alone(row.running, partial(beams.take, work.sequence, own))
                self._end(row.running)
            else:
                ready.append((work, at + first))
        self._choose(ready, logits)

    # -- choosing tokens ---------------------------------------------------------------------------

    def _choose(self, works: Sequence[tuple[Work, int]], logits: "Tensor") -> None:
        plain = [
            (work, at, row) for work, at in works if not work.sequence.draft for row in self._sharing(work)
        ]
        if plain:
            places = [at for _, at, _ in plain]
            own = _at(logits, places)
            tokens = choose(own, [row.choice for _, _, row in plain])
            found = self._logprobs(own, tokens, [row for _, _, row in plain])
            for work in dict.fromkeys(work for work, _, _ in plain):
                self._schedule.commit(work)
            self._branch(plain)
            for (_, _, row), token, logprob in zip(plain, tokens, found, strict=True):
                self._alone(row.running, partial(self._accept, row, token, logprob))
        drafted = [(work, at) for work, at in works if work.sequence.draft]
        if drafted:
            self._choose_drafted(drafted, logits)
        for work, _ in works:
            owner = self._owners.get(work.sequence)
            if owner is not None:
                self._end(owner.running)

    def _choose_drafted(self, works: Sequence[tuple[Work, int]], logits: "Tensor") -> None:
        rows = [self._owners[work.sequence] for work, _ in works]
        drafts = [work.tokens[len(work.tokens) - work.logits + 1 :] for work, _ in works]
        places = [at + i for work, at in works for i in range(work.logits)]
        own = _at(logits, places)
        output = choose_drafted(own, [row.choice for row in rows], drafts)
        at = 0
        for (work, _), row, draft, tokens in zip(works, rows, drafts, output, strict=True):
            found = self._logprobs(own[at : at + len(tokens)], tokens, [row] * len(tokens))
            at += work.logits
            for place, (token, logprob) in enumerate(zip(tokens, found, strict=True), 1):
                if row.finish_reason is None:
                    give = partial(self._give, row, token, logprob, last=place == len(tokens))
                    self._alone(row.running, give)
            right = sum(1 for guess, token in zip(draft, tokens, strict=False) if guess == token)
            if row.lookup is not None and draft:
                row.lookup.learn(len(draft), right)
            self._schedule.commit(work, len(work.tokens) - len(draft) + min(right, len(tokens) - 1))

    def _alone(self, running: Running, work: Callable[[], None]) -> None:
        """Work for one request: whatever is raised fails that request, and no other of the step."""
        try:
            work()
        except Exception as error:
            log.exception("a request failed")
            running.reply.fail(EngineError(f"the request failed: {error}"))
            self.drop(running)

    def _accept(self, row: Row, token: int, logprob: TokenLogprob | None) -> None:
        if token != NOTHING:
            row.choice.accept(token)
        self._give(row, token, logprob)

    def _give(self, row: Row, token: int, logprob: TokenLogprob | None, *, last: bool = True) -> None:
        """Hand a chosen token to its row and to the schedule."""
        tokens = row.tokens
        assert tokens is not None
        if token == NOTHING:
            row.running.reply.fail(row.choice.failure())
            self.drop(row.running)
            return
        tokens.token_ids.append(token)
        tokens.logits_from = None
        if row.lookup is not None:
            row.lookup.add(token)
        take(row, token, logprob, last=last)

    def _sharing(self, work: Work) -> list[Row]:
        """The rows that choose from this work's logits: at the end of the prompt all completions of its request."""
        row = self._owners[work.sequence]
        return row.running.rows if row.running.rows[-1].tokens is None else [row]

    def _branch(self, plain: Sequence[tuple[Work, int, Row]]) -> None:
        """Let completions without a sequence of their own branch off the one that read the prompt."""
        for work, _, row in plain:
            if row.tokens is None:
                self._adopt(row, self._schedule.fork(work.sequence))

    def _end(self, running: Running) -> None:
        """Release rows that have ended, and the request with its last one."""
        for row in running.rows:
            if row.finish_reason is not None:
                self._release(row)
        if running.done and running in self._running:
            self.drop(running)

    def _adopt(self, row: Row, tokens: Tokens) -> None:
        row.tokens = tokens
        self._owners[tokens] = row

    def _release(self, row: Row) -> None:
        if row.tokens is not None and row.tokens in self._owners:
            row.running.cached_tokens = max(row.running.cached_tokens, row.tokens.cached_tokens)
            self._forget(row.tokens)

    def _forget(self, tokens: Tokens) -> None:
        self._owners.pop(tokens, None)
        self._schedule.finish(tokens)

    # -- logprobs ----------------------------------------------------------------------------------

    def _prompt_logprobs(self, work: Work, row: Row, logits: "Tensor") -> int | None:
        """Note those of the prompt; the first row of `logits` from which tokens are chosen, None without one."""
        if not work.logits:
            return None
        stop = work.start + len(work.tokens)
        first = stop - work.logits  # the position of the first logits
        last = len(work.sequence.token_ids) - 1  # the position after which a token is chosen
        asked = row.params.prompt_logprobs
        before = max(0, min(last, stop) - first)
        if asked is not None and before:
            ids = work.sequence.token_ids[first + 1 : first + 1 + before]
            found = logprobs_of(logits[:before], ids, [asked] * before)
            known = row.running.prompt_logprobs
            known += [self._named(one) for one in found][len(known) - first - 1 :]
        return before if stop > last else None

    def _logprobs(
        self, logits: "Tensor", tokens: Sequence[int], rows: Sequence[Row]
    ) -> list[TokenLogprob | None]:
        counts = [row.wanted_logprobs for row in rows]
        if all(count is None for count in counts):
            return [None] * len(tokens)
        return [self._named(one) for one in logprobs_of(logits, tokens, counts)]

    def _named(self, found: Logprobs | None) -> TokenLogprob | None:
        """With the tokens' bytes and texts."""
        if found is None:
            return None
        spelt, read = self._bytes(found.token_id), [self._bytes(token) for token, _ in found.top]
        top = tuple(
            (token, _text(one), logprob) for (token, logprob), one in zip(found.top, read, strict=True)
        )
        return TokenLogprob(found.token_id, _text(spelt), found.logprob, top, found.rank, spelt, tuple(read))


def _text(spelt: bytes) -> str:
    return spelt.decode(errors="replace")


def _at(logits: "Tensor", places: Sequence[int]) -> "Tensor":
    """These rows of logits, without a copy where they are all of them."""
    import torch

    if list(places) == list(range(len(logits))):
        return logits
    return logits[torch.tensor(places, device=logits.device)]
