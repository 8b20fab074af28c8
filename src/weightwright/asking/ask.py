"""Many questions under way at a Chat; each answer is handed on, or kept, the moment it ends."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, TypeVar

from weightwright.asking.answers import Answers, R
from weightwright.errors import RemoteError, RequestError, WeightwrightError
from weightwright.ports import Progress, Reply, silent

Q = TypeVar("Q")
FAILURES_IN_A_ROW = 5
_ONE_REQUEST = (
    400,
    413,
    422,
    500,
)  # statuses of a server that is there: this prompt is too long, or breaks something


@dataclass(frozen=True, slots=True)
class Asked(Generic[Q]):
    """One question that has ended; `error` says what kept it from an answer.

    `seconds` since the one before ended: all of them add up to the whole time, however many were
    under way together. `latency_s` from the call of `start` to its end.
    """

    key: str
    question: Q
    reply: Reply
    error: WeightwrightError | None
    seconds: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class _UnderWay(Generic[Q]):
    question: Q
    reply: Reply
    began_s: float


def ask_and_keep(
    questions: Mapping[str, Q],
    start: Callable[[Q], Reply],
    record_of: Callable[[Asked[Q]], R],
    answers: Answers[R],
    *,
    arm: str,
    label: Callable[[Q], str],
    concurrency: int,
    progress: Progress = silent,
) -> dict[str, R]:
    """The records of all questions, asked as `ask` does. Each answer is kept before the next is looked at.

    What failed is not kept: it is asked again the next time. `label` is a question's id.
    """
    records: dict[str, R] = {}

    def ended(asked: Asked[Q]) -> None:
        records[asked.key] = record_of(asked)
        if asked.error is None:
            answers.keep(asked.key, records[asked.key], arm=arm, question=label(asked.question))
        progress(len(records), len(questions))

    ask(questions, start, ended, concurrency=concurrency)
    return records


def ask(
    questions: Mapping[str, Q],
    start: Callable[[Q], Reply],
    ended: Callable[[Asked[Q]], None],
    *,
    concurrency: int,
) -> None:
    """Start all questions (by key), `concurrency` at a time, and call `ended` for each as it ends.

    A request that fails is handed on as such; FAILURES_IN_A_ROW errors (or as many as there are questions) that are
    no single request's (a server that is gone, or refuses the key) raise the last of them. When interrupted, what
    is under way is cancelled.
    """
    waiting, under_way = deque(questions.items()), dict[str, _UnderWay[Q]]()
    arrivals: SimpleQueue[tuple[str, float]] = SimpleQueue()
    failures, last_s = 0, perf_counter()
    too_many = min(FAILURES_IN_A_ROW, max(2, len(questions)))
    try:
        while waiting or under_way:
            while waiting and len(under_way) < concurrency:
                key, question = waiting.popleft()
                under_way[key] = _begin(key, question, start, arrivals)
            key, at_s = arrivals.get()
            asked = _end(key, under_way.pop(key), at_s, last_s)
            last_s = max(at_s, last_s)
            failures = failures + 1 if asked.error is not None and not _concerns_one(asked.error) else 0
            if asked.error is not None and failures >= too_many:
                raise asked.error
            ended(asked)
    finally:
        for each in under_way.values():
            each.reply.cancel()


def _concerns_one(error: WeightwrightError) -> bool:
    """Whether the request failed and the model is still there: others may be answered."""
    return isinstance(error, RequestError) or (
        isinstance(error, RemoteError) and error.status in _ONE_REQUEST
    )


def _begin(
    key: str, question: Q, start: Callable[[Q], Reply], arrivals: "SimpleQueue[tuple[str, float]]"
) -> _UnderWay[Q]:
    began_s = perf_counter()
    reply = start(question)
    reply.on_end(lambda _: arrivals.put((key, perf_counter())))
    return _UnderWay(question, reply, began_s)


def _end(key: str, each: _UnderWay[Q], at_s: float, last_s: float) -> Asked[Q]:
    error = None
    try:
        if each.reply.result().completions[0].finish_reason == "cancelled":
            error = WeightwrightError("the model was closed before the answer's end")
    except WeightwrightError as failure:
        error = failure
    return Asked(key, each.question, each.reply, error, max(0.0, at_s - last_s), at_s - each.began_s)
