"""The words of a prompt with and without passages: one definition for tuning, answering and comparing.

A model tuned on grounded rows (`question`, `passages`, `answer`) and a model asked over a knowledge
base see the same words, so that what was learnt is what is used.
"""

from collections.abc import Sequence

from pydantic import Field

from weightwright.config import Settings
from weightwright.data.language import Language, language_of
from weightwright.ports import Message

GROUNDED: dict[Language, str] = {
    "en": "Answer from the sources in a few words and cite them like [1]. "
    "If they do not say, answer: {no_answer}",
    "zh": "只根据资料简短回答，并像 [1] 这样标明出处。如果资料没有说明，就回答：{no_answer}",
}
PLAIN: dict[Language, str] = {"en": "Answer in a few words.", "zh": "请简短回答。"}
NO_ANSWER: dict[Language, str] = {"en": "The documents do not say.", "zh": "资料中没有说明。"}
_QUESTION: dict[Language, str] = {"en": "Question: ", "zh": "问题："}


class PromptSettings(Settings):
    """The instructions around a question; empty ones stand in the question's language."""

    instruction: str = Field("", description="instruction for answering from passages")
    plain_instruction: str = Field("", description="instruction for answering without passages")
    no_answer: str = Field("", description="the answer where the documents do not say")


def no_answer(settings: PromptSettings, question: str) -> str:
    """The sentence that says that the documents do not say."""
    return settings.no_answer or NO_ANSWER[language_of(question)]


def messages(question: str, passages: Sequence[str], settings: PromptSettings) -> tuple[Message, ...]:
    """System and user message for a question, with numbered passages or with none."""
    language = language_of(question)
    if not passages:
        instruction = settings.plain_instruction or PLAIN[language]
        return (Message("system", instruction), Message("user", question))
    instruction = settings.instruction or GROUNDED[language]
    instruction = instruction.replace("{no_answer}", no_answer(settings, question))
    numbered = "\n".join(f"[{n}] {passage}" for n, passage in enumerate(passages, 1))
    return (
        Message("system", instruction),
        Message("user", f"{numbered}\n\n{_QUESTION[language]}{question}"),
    )
