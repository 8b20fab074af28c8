"""What a row is once it is read: a conversation, a preference pair, a judged answer, or a plain text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weightwright.errors import Place
from weightwright.ports import Message

Kind = Literal["conversations", "pairs", "judged", "texts", "prompts"]
Tools = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation to learn from.

    `answers[i]` says whether message i is an answer that may carry loss (an assistant's, if no mark takes it out);
    `place` is where the row stands, for messages to the user; `tools` are the functions that may be called;
    `question` is what is asked, where the last user message holds more than that (passages); `task` is what the row
    has the model do, where that stands by itself (an instruction with an input); `unread` are the filled fields of
    the row that nothing has read, here and in the other kinds; `plain` says that it is a text and its continuation,
    which a model without a chat template learns one behind the other.
    """

    messages: tuple[Message, ...]
    answers: tuple[bool, ...]
    place: Place
    tools: Tools = ()
    question: str = ""
    task: str = ""
    unread: tuple[str, ...] = ()
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conversations that share all messages but the last, the answers; only these are marked as answers."""

    chosen: Sample
    rejected: Sample
    place: Place
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A conversation whose last message, the answer, was judged good or bad; only it is marked as an answer."""

    sample: Sample
    good: bool
    place: Place
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A plain text, for pretraining."""

    text: str
    place: Place
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of a model whose own answers are judged: the messages before the answer, and the row's fields.

    `answer` is the one that the row has, "" where it has none.
    """

    messages: tuple[Message, ...]
    fields: Mapping[str, Any]
    place: Place
    answer: str = ""
    tools: Tools = ()
    unread: tuple[str, ...] = ()

    @property
    def sample(self) -> Sample:
        """The prompt with the row's own answer."""
        turns = (*self.messages, Message("assistant", self.answer))
        return Sample(turns, (*[False] * len(self.messages), True), self.place, self.tools)


Built = Sample | Pair | Judged | Text | Prompt
