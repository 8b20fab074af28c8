"""Many questions under way at a Chat; each answer is handed on the moment it ends."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, TypeVar

from weightwright.errors import RequestError, WeightwrightError
from weightwright.ports import Reply

Question = TypeVar("Question")
Passage = TypeVar("Passage")
FAILURES_IN_A_ROW = 5


@dataclass(frozen=True, slots=True)
class Started(Generic[Passage]):
    """A reply under way and the passages that its prompt holds."""

    reply: Reply
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked(Generic[Question, Passage]):
    """One question that has ended; `error` says what kept it from an answer.

    `seconds` since the one before ended: all of them add up to the whole time, however many were
    under way together. `latency_s` from the start of its search to its end.
    """

    question: Question
    reply: Reply
    passages: tuple[Passage, ...]
    error: WeightwrightError | None
    seconds: float
    latency_s: float

    @property
    def is_final(self) -> bool:
        """Whether asking again would bring the same: an answer, or a request that cannot be answered."""
        return self.error is None or isinstance(self.error, RequestError)


@dataclass(frozen=True, slots=True)
class _UnderWay(Generic[Question, Passage]):
    question: Question
    started: Started[Passage]
    began_s: float


def ask(
    questions: Sequence[Question],
    start: Callable[[Question], Started[Passage]],
    ended: Callable[[Asked[Question, Passage]], None],
    *,
    concurrency: int,
) -> None:
    """Start all questions, `concurrency` at a time, and call `ended` for each as it ends.

    A request that fails is handed on as such; FAILURES_IN_A_ROW errors that are not the request's own fault
    (a server that is gone) raise the last of them. When interrupted, what is under way is cancelled.
    """
    waiting, under_way = deque(questions), dict[int, _UnderWay[Question, Passage]]()
    arrivals: SimpleQueue[tuple[int, float]] = SimpleQueue()
    failures, last_s = 0, perf_counter()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < concurrency:
                number = len(questions) - len(waiting)
                under_way[number] = _begin(waiting.popleft(), number, start, arrivals)
            number, at_s = arrivals.get()
            asked = _end(under_way.pop(number), at_s, last_s)
            last_s = max(at_s, last_s)
            failures = 0 if asked.is_final else failures + 1
            if asked.error is not None and failures >= FAILURES_IN_A_ROW:
                raise asked.error
            ended(asked)
    finally:
        for each in under_way.values():
            each.started.reply.cancel()


def _begin(
    question: Question,
    number: int,
    start: Callable[[Question], Started[Passage]],
    arrivals: "SimpleQueue[tuple[int, float]]",
) -> _UnderWay[Question, Passage]:
    began_s = perf_counter()
    started = start(question)
    started.reply.on_end(lambda _: arrivals.put((number, perf_counter())))
    return _UnderWay(question, started, began_s)


def _end(each: _UnderWay[Question, Passage], at_s: float, last_s: float) -> Asked[Question, Passage]:
    reply, error = each.started.reply, None
    try:
        if reply.result().completions[0].finish_reason == "cancelled":
            error = WeightwrightError("the model was closed before the answer's end")
    except WeightwrightError as failure:
        error = failure
    seconds = max(0.0, at_s - last_s)
    return Asked(each.question, reply, each.started.passages, error, seconds, at_s - each.began_s)
