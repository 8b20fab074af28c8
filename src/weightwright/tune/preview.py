"""What a model says before and after a run on a few held-out rows; a Chat is handed in."""

from collections.abc import Sequence
from dataclasses import dataclass

from weightwright.data.formats import Sample
from weightwright.errors import Place
from weightwright.ports import Chat, ChatRequest, Message, SamplingParams


@dataclass(frozen=True, slots=True)
class Preview:
    """A row's last question, the answer it has, and what the model said to it."""

    place: Place
    question: str
    wanted: str
    before: str
    after: str


def answers(
    chat: Chat, samples: Sequence[Sample], *, adapter: str | None = None, max_tokens: int = 128
) -> list[str]:
    """The greedy answers to the last question of each row."""
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    replies = [
        chat.submit(ChatRequest(messages=_prompt(sample), adapter=adapter, params=params))
        for sample in samples
    ]
    return [reply.result().completions[0].text for reply in replies]


def side_by_side(samples: Sequence[Sample], before: Sequence[str], after: Sequence[str]) -> list[Preview]:
    """Each row with both answers."""
    return [
        Preview(s.place, _prompt(s)[-1].content, s.messages[-1].content, old, new)
        for s, old, new in zip(samples, before, after, strict=True)
    ]


def _prompt(sample: Sample) -> tuple[Message, ...]:
    return sample.messages[:-1]
