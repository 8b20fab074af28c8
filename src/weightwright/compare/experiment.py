"""What the arms work with, made ready once: how a question is asked in an arm, and what is kept of it."""

from dataclasses import asdict, dataclass

from weightwright.asking.answers import Record
from weightwright.asking.ask import Asked, Started
from weightwright.compare import keys
from weightwright.compare.adapter import Adapter
from weightwright.compare.arms import Arm
from weightwright.compare.passages import Ground
from weightwright.compare.questions import Question
from weightwright.compare.settings import CompareSettings
from weightwright.data import grounded
from weightwright.ports import Chat, ChatRequest, Message, SamplingParams
from weightwright.rag.answer import ask
from weightwright.rag.context import Passage


@dataclass(frozen=True, slots=True)
class Bench:
    """All that the arms need; `model` is the model's fingerprint."""

    settings: CompareSettings
    questions: tuple[Question, ...]
    arms: tuple[Arm, ...]
    model: str
    adapter: Adapter | None
    ground: Ground | None

    def arm_key(self, arm: Arm) -> str:
        """The hash of everything but the question that makes an arm's answers."""
        return keys.of_arm(
            arm,
            self.settings,
            model=self.model,
            adapter=self.adapter.fingerprint if self.adapter else None,
            knowledge_base=self.ground.version if self.ground and arm.context != "none" else None,
        )

    def start(self, chat: Chat, arm: Arm, question: Question) -> Started[Passage]:
        """Ask one question in one arm, its passages found first, as `ask` and `chat` would."""
        settings = self.settings.answer
        adapter = self.adapter.name if self.adapter and arm.adapter else None
        params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature)
        if self.ground is None or arm.context == "none":
            plain = grounded.messages(question.question, (), settings.prompt)
            return Started(chat.submit(ChatRequest(messages=plain, adapter=adapter, params=params)))
        found = self.ground.gold(question) if arm.context == "gold" else self.ground.search(question.question)
        asked = (Message("user", question.question),)
        request = ChatRequest(messages=asked, adapter=adapter, params=params)
        return Started(ask(chat, request, found, settings), tuple(found))


def record_of(arm: Arm, asked: Asked[Question, Passage]) -> Record:
    """What is kept of a question that has ended."""
    passages = tuple(
        {"document": p.document, "start": p.start, "end": p.end, "text": p.text} for p in asked.passages
    )
    if asked.error is not None:
        return Record(
            arm.name,
            asked.question.id,
            None,
            error=str(asked.error),
            seconds=asked.seconds,
            latency_s=asked.latency_s,
            passages=passages,
        )
    completion = asked.reply.result().completions[0]
    usage = asked.reply.usage
    return Record(
        arm=arm.name,
        question=asked.question.id,
        answer=completion.text.strip(),
        finish_reason=completion.finish_reason or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=asked.seconds,
        latency_s=asked.latency_s,
        passages=passages,
        citations=tuple(asdict(citation) for citation in completion.citations),
        dropped_marks=completion.trace.get("citations", {}).get("dropped", 0),
    )
