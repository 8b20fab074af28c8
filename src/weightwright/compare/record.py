"""What is kept of one question in one arm."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weightwright.asking.ask import Asked
from weightwright.compare.arms import Arm
from weightwright.compare.questions import Question
from weightwright.rag.context import Passage


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one question in one arm. `error` is set and `answer` None when the question failed.

    `seconds` is the share of the arm's time this question took (shares add up to the whole, however many
    were under way together); `latency_s` is what a user would have waited.
    """

    arm: str
    question: str
    answer: str | None
    error: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    latency_s: float = 0.0
    passages: tuple[dict[str, Any], ...] = ()
    citations: tuple[dict[str, Any], ...] = ()
    dropped_marks: int = 0


def record_of(arm: Arm, asked: Asked[Question], passages: Sequence[Passage]) -> Record:
    """The record of a question that has ended; `passages` are those that its prompt held."""
    shown = tuple({"document": p.document, "start": p.start, "end": p.end, "text": p.text} for p in passages)
    if asked.error is not None:
        return Record(
            arm.name,
            asked.question.id,
            None,
            error=str(asked.error),
            seconds=asked.seconds,
            latency_s=asked.latency_s,
            passages=shown,
        )
    completion, usage = asked.reply.result().completions[0], asked.reply.usage
    return Record(
        arm=arm.name,
        question=asked.question.id,
        answer=completion.text.strip(),
        finish_reason=completion.finish_reason or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=asked.seconds,
        latency_s=asked.latency_s,
        passages=shown,
        citations=tuple(asdict(citation) for citation in completion.citations),
        dropped_marks=completion.trace.get("citations", {}).get("dropped", 0),
    )
