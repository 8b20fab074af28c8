"""Beam search over scheduled sequences that share their blocks (length penalty as in transformers)."""

from collections import abc
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from weightwright.engine.request import Candidate, Model, Request, push
from weightwright.engine.request_owner import RequestOwner
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Output, Sequence, Share
from weightwright.engine.settings import EngineSettings

if TYPE_CHECKING:
    from torch import Tensor


class Beams(RequestOwner):
    """Owns the sequences of requests that search with beams."""

    def __init__(self, model: Model, schedule: Schedule, settings: EngineSettings) -> None:
        super().__init__(model, schedule, settings)
        self._searches: dict[Request, Search] = {}

    def start(self, request: Request, salt: bytes) -> None:
        """See `RequestOwner`."""
        sequence = request.sequence(salt, self, share_prefix=self._settings.share_prefixes)
        self._queue(request, sequence)
        self._searches[request] = Search(request, sequence, self._schedule, self._adopt, self._release)

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """See `Owner`: each search takes a step when the logits of all of its beams have come."""
        for work, at in shares:
            candidate, row = self._candidates.get(work.sequence), None
            if candidate is not None:
                row = self._logprobs.of_prompt(candidate.request, work, at, output)
            self._schedule.commit(work)
            if candidate is not None and row is not None:
                request = candidate.request
                step = partial(self._searches[request].take, work.sequence, output.logits[row])
                self._alone(request, step)
                if request.done and request in self._requests:
                    self._end(request)

    def _end(self, request: Request, end: abc.Callable[[Candidate], None] | None = None) -> None:
        """See `RequestOwner`."""
        search = self._searches.pop(request, None)
        if search is not None:
            search.drop()
        super()._end(request, end)


@dataclass(eq=False)
class Beam:
    """One hypothesis that still grows: its output so far and the sum of its log-probabilities."""

    sequence: Sequence
    output: list[int] = field(default_factory=list)
    total: float = 0.0
    logprobs: "Tensor | None" = None  # of its next token [vocab]; None until its logits have come


@dataclass(frozen=True)
class Finished:
    """A hypothesis that ended, by its score: total / length ** length_penalty."""

    score: float
    output: tuple[int, ...]
    reason: str


class Search:
    """The beams of one request. All of them take a step together, once the logits of each have come."""

    def __init__(
        self,
        request: Request,
        sequence: Sequence,
        schedule: Schedule,
        adopt: abc.Callable[[Candidate, Sequence], None],
        release: abc.Callable[[Sequence], None],
    ) -> None:
        self._request, self._schedule, self._adopt, self._release = request, schedule, adopt, release
        self._params = request.params
        self._width = self._params.width
        self._ends = request.candidates[0].choice.ends
        self._beams = [Beam(sequence)]
        self._finished: list[Finished] = []

    def take(self, sequence: Sequence, logits: "Tensor") -> None:
        """The logits [vocab] after a beam's last token."""
        beam = next(beam for beam in self._beams if beam.sequence is sequence)
        beam.logprobs = logits.log_softmax(dim=-1)
        if all(beam.logprobs is not None for beam in self._beams):
            self._step()

    def drop(self) -> None:
        """Free what the beams hold."""
        for beam in self._beams:
            self._release(beam.sequence)
        self._beams = []

    def _step(self) -> None:
        """Take the likeliest continuations of all beams: those that end are done, the others go on."""
        going: list[tuple[Beam, int, float]] = []
        for rank, (beam, token, total) in enumerate(self._candidates()):
            if token in self._ends:
                if rank < self._width:
                    self._finish((*beam.output, token), total, "stop")
            else:
                going.append((beam, token, total))
            if len(going) == self._width:
                break
        if len(self._beams[0].output) + 1 >= self._request.max_tokens:
            for beam, token, total in going:
                self._finish((*beam.output, token), total, "length")
            self._end()
        elif self._is_over(going):
            self._end()
        else:
            self._grow(going)

    def _candidates(self) -> list[tuple[Beam, int, float]]:
        """The 2 x width (or more, with several end tokens) likeliest continuations, best first."""
        import torch

        totals = torch.stack([
            beam.logprobs + beam.total for beam in self._beams if beam.logprobs is not None
        ])  # fmt: skip
        vocab, ends = totals.shape[1], list(self._ends)
        if len(self._beams[0].output) < self._params.min_tokens:
            totals[:, ends] = -torch.inf
        count = min(totals.numel(), self._width * max(2, 1 + len(ends)))
        values, places = totals.flatten().topk(count)
        return [
            (self._beams[place // vocab], place % vocab, value)
            for value, place in zip(values.tolist(), places.tolist(), strict=True)
        ]

    def _finish(self, output: tuple[int, ...], total: float, reason: str) -> None:
        self._finished.append(Finished(total / len(output) ** self._params.length_penalty, output, reason))
        self._finished.sort(key=lambda done: -done.score)
        del self._finished[self._width :]

    def _is_over(self, going: list[tuple[Beam, int, float]]) -> bool:
        """Whether nothing that still grows can come among the best (transformers' three rules)."""
        if len(self._finished) < self._width:
            return False
        if self._params.early_stopping is True:
            return True
        best = going[0][2]
        length = len(self._beams[0].output) + 1
        if self._params.early_stopping == "never" and self._params.length_penalty > 0:
            length = self._request.max_tokens
        return bool(self._finished[-1].score >= best / length**self._params.length_penalty)

    def _grow(self, going: list[tuple[Beam, int, float]]) -> None:
        """Branch the sequences: each beam's first continuation goes on in place, the others in twins."""
        used: set[Beam] = set()
        beams = []
        for beam, token, total in going:
            sequence = beam.sequence if beam not in used else self._schedule.fork(beam.sequence)
            used.add(beam)
            beams.append((token, Beam(sequence, [*beam.output, token], total)))
        for beam in self._beams:
            if beam not in used:
                self._release(beam.sequence)
        for token, beam in beams:
            beam.sequence.token_ids.append(token)
            self._adopt(self._request.candidates[0], beam.sequence)
        self._beams = [beam for _, beam in beams]

    def _end(self) -> None:
        """Hand out the best hypotheses."""
        self.drop()
        candidates = self._request.candidates
        for candidate, done in zip(candidates, self._finished[: self._params.n], strict=False):
            written = [token for token in done.output if token not in self._ends]
            text = "".join(map(candidate.text.push, written)) + candidate.text.flush()
            candidate.given = len(done.output)
            candidate.finish_reason = "stop" if done.reason == "stop" or candidate.text.stopped else "length"
            push(candidate, text, done.output, ())
        for candidate in candidates:
            if candidate.finish_reason is None:
                candidate.finish_reason = "length"
