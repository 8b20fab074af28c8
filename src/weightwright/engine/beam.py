"""Beam search over scheduled sequences that share their blocks (length penalty as in transformers)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightwright.engine.request import Row, Running, push
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Sequence as Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Beam:
    """One hypothesis that still grows: its output so far and the sum of its log-probabilities."""

    tokens: Tokens
    output: list[int] = field(default_factory=list)
    total: float = 0.0
    logprobs: "Tensor | None" = None  # of its next token [vocab]; None until its logits have come


@dataclass(frozen=True)
class Finished:
    """A hypothesis that ended, by its score: total / length ** length_penalty."""

    score: float
    output: tuple[int, ...]
    reason: str


class Beams:
    """The beams of one request. All of them take a step together, once the logits of each have come."""

    def __init__(
        self,
        running: Running,
        schedule: Schedule,
        adopt: Callable[[Row, Tokens], None],
        release: Callable[[Tokens], None],
    ) -> None:
        self._running, self._schedule, self._adopt, self._release = running, schedule, adopt, release
        self._params = running.request.params
        self._width = self._params.width
        tokens = running.rows[0].tokens
        assert tokens is not None
        self._beams = [Beam(tokens)]
        self._finished: list[Finished] = []

    def take(self, tokens: Tokens, logits: "Tensor") -> None:
        """The logits [vocab] after a beam's last token."""
        beam = next(beam for beam in self._beams if beam.tokens is tokens)
        beam.logprobs = logits.log_softmax(dim=-1)
        if all(beam.logprobs is not None for beam in self._beams):
            self._step()

    def drop(self) -> None:
        """Free what the beams hold."""
        for beam in self._beams:
            self._release(beam.tokens)
        self._beams = []

    def _step(self) -> None:
        """Take the likeliest continuations of all beams: those that end are done, the others go on."""
        going: list[tuple[Beam, int, float]] = []
        for rank, (beam, token, total) in enumerate(self._candidates()):
            if token in self._running.rows[0].choice.ends:
                if rank < self._width:
                    self._finish((*beam.output, token), total, "stop")
            else:
                going.append((beam, token, total))
            if len(going) == self._width:
                break
        if len(self._beams[0].output) + 1 >= self._running.max_tokens:
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
        vocab, ends = totals.shape[1], list(self._running.rows[0].choice.ends)
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
            length = self._running.max_tokens
        return bool(self._finished[-1].score >= best / length**self._params.length_penalty)

    def _grow(self, going: list[tuple[Beam, int, float]]) -> None:
        """Branch the sequences: each beam's first continuation goes on in place, the others in twins."""
        used: set[Beam] = set()
        beams = []
        for beam, token, total in going:
            tokens = beam.tokens if beam not in used else self._schedule.fork(beam.tokens)
            used.add(beam)
            beams.append((tokens, token, Beam(tokens, [*beam.output, token], total)))
        for beam in self._beams:
            if beam not in used:
                self._release(beam.tokens)
        for tokens, token, _ in beams:
            tokens.token_ids.append(token)
        self._beams = [beam for _, _, beam in beams]
        for beam in self._beams:
            self._adopt(self._running.rows[0], beam.tokens)

    def _end(self) -> None:
        """Hand out the best hypotheses."""
        self.drop()
        running = self._running
        for index, done in enumerate(self._finished[: self._params.n]):
            row = running.rows[index]
            ends = row.choice.ends
            text = (
                "".join(row.text.push(token) for token in done.output if token not in ends) + row.text.flush()
            )
            row.given = len(done.output)
            row.finish_reason = "stop" if done.reason == "stop" or row.text.stopped else "length"
            push(row, text, done.output, ())
        for row in running.rows:
            if row.finish_reason is None:
                row.finish_reason = "length"
