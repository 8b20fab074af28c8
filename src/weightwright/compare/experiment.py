"""A comparison made ready: its questions, arms, model, adapter and passages, and how an arm is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from weightwright.compare import keys
from weightwright.compare.adapter import Adapter
from weightwright.compare.arms import Arm
from weightwright.compare.passages import PassageSource
from weightwright.compare.questions import Question
from weightwright.compare.settings import CompareSettings
from weightwright.data import grounded
from weightwright.ports import Chat, ChatRequest, Message, Reply, SamplingParams
from weightwright.rag.answer import ask
from weightwright.rag.context import Passage


@dataclass(frozen=True, slots=True)
class Experiment:
    """All that the arms need; `model` is the model's fingerprint, `source` None where no arm is shown passages."""

    settings: CompareSettings
    questions: tuple[Question, ...]
    arms: tuple[Arm, ...]
    model: str
    adapter: Adapter | None
    source: PassageSource | None

    def arm_key(self, arm: Arm) -> str:
        """The hash of everything but the question that makes an arm's answers."""
        return keys.of_arm(
            arm,
            self.settings,
            model=self.model,
            adapter=self.adapter.fingerprint if self.adapter else None,
            knowledge_base=self.source.version if self.source and arm.context != "none" else None,
        )

    def passages(self, arm: Arm, question: Question) -> list[Passage] | None:
        """What an arm's prompt holds for a question; None where the arm is shown nothing."""
        if self.source is None or arm.context == "none":
            return None
        return self.source.gold(question) if arm.context == "gold" else self.source.search(question.question)

    def ask(self, chat: Chat, arm: Arm, question: Question, passages: Sequence[Passage] | None) -> Reply:
        """Ask one question in one arm, as `chat` would, or `ask` from these passages."""
        settings = self.settings.answer
        adapter = self.adapter.name if self.adapter and arm.adapter else None
        params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature)
        if passages is None:
            plain = grounded.messages(question.question, (), settings.prompt)
            return chat.submit(ChatRequest(messages=plain, adapter=adapter, params=params))
        messages = (Message("user", question.question),)
        return ask(chat, ChatRequest(messages=messages, adapter=adapter, params=params), passages, settings)
