"""A conversation with a model: turns, how answers are sampled, and when one has to be ended."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from weightwright.config import Settings
from weightwright.engine.settings import EngineSettings
from weightwright.ports import Chat, ChatRequest, Citation, Message, Progress, SamplingParams, silent
from weightwright.rag.settings import AnswerSettings

# where a model's makers advise nothing
_USUAL = {"temperature": 0.7, "top_p": 0.9}
MAX_TOKENS = 1024
_MODELS_OWN = "default: what the model's makers advise"

Ended = Literal["stop", "length", "context", "repeating", "cancelled"]


class ChatSettings(Settings):
    """Who is asked, and how."""

    model: str = Field(description="model address")
    kb: str = Field("", description="answer from this knowledge base, with citations")
    adapter: Path | None = Field(None, description="folder of a LoRA adapter")
    embedder: str = Field("", description="embedder of the knowledge base; default: its own")
    system: str = Field("", description="system message")
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="new tokens of an answer, at most; default: 1,024, from a knowledge base answer.max_tokens",
    )
    temperature: float | None = Field(
        None,
        ge=0,
        description=f"0 always takes the likeliest token; {_MODELS_OWN}, else 0.7; from a knowledge base "
        "answer.temperature",
    )
    top_p: float | None = Field(None, gt=0, le=1, description=f"nucleus sampling; {_MODELS_OWN}, else 0.9")
    top_k: int | None = Field(
        None, ge=-1, description=f"only the k likeliest tokens; {_MODELS_OWN}, else all"
    )
    repetition_penalty: float | None = Field(
        None, gt=0, description=f"above 1: what was said becomes less likely; {_MODELS_OWN}, else 1"
    )
    stop_repeating: bool = Field(True, description="end an answer that says the same again and again")
    seed: int | None = Field(None, description="same seed, same answer")
    engine: EngineSettings = EngineSettings()
    answer: AnswerSettings = AnswerSettings()


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: its text, the passages it cites, and how it ended."""

    text: str
    citations: tuple[Citation, ...]
    ended: Ended


class Conversation:
    """The turns so far; `ask` adds a question and its answer."""

    def __init__(self, chat: Chat, settings: ChatSettings, params: SamplingParams) -> None:
        self.params = params
        self._chat = chat
        self._adapter = "adapter" if settings.adapter is not None else None
        self._system = (Message("system", settings.system),) if settings.system else ()
        self._stop_repeating = settings.stop_repeating
        self.max_tokens = params.max_tokens or MAX_TOKENS  # the engine's own limit is the context's end
        self._turns: tuple[Message, ...] = self._system

    def reset(self) -> None:
        """Forget everything but the system message."""
        self._turns = self._system

    def ask(self, question: str, on_text: Callable[[str], None]) -> Turn:
        """Ask, and hand out the answer's text as it comes; KeyboardInterrupt ends it and keeps what was said.

        Raises RequestError; the question is then forgotten.
        """
        turns = (*self._turns, Message("user", question))
        reply = self._chat.submit(ChatRequest(messages=turns, adapter=self._adapter, params=self.params))
        said, looked_at, tokens = "", 0, 0
        ended: Ended = "cancelled"
        citations: tuple[Citation, ...] = ()
        try:
            for piece in reply:
                said += piece.text
                citations += piece.citations
                ended = piece.finish_reason or ended
                on_text(piece.text)
                tokens += len(piece.token_ids) or 1
                if tokens >= self.max_tokens and piece.finish_reason is None:
                    reply.cancel()
                    ended = "length"
                    break
                if self._stop_repeating and len(said) >= looked_at + _LOOK_EVERY:
                    looked_at = len(said)
                    if loop := looping(said):
                        reply.cancel()
                        ended = "repeating"
                        while said.endswith(2 * loop):
                            said = said.removesuffix(loop)
                        break
        except KeyboardInterrupt:
            reply.cancel()
            ended = "cancelled"
        if ended == "length" and tokens < self.max_tokens:
            ended = "context"
        self._turns = (*turns, Message("assistant", said))
        return Turn(said, citations, ended)


@contextmanager
def opened(settings: ChatSettings, progress: Progress = silent) -> Iterator[Conversation]:
    """A conversation with the model of the settings, over their knowledge base where they name one."""
    from weightwright.connect import open_chat, open_knowledge
    from weightwright.rag.answer import KnowledgeChat

    adapters = {"adapter": settings.adapter} if settings.adapter is not None else {}
    with ExitStack() as stack:
        chat: Chat = open_chat(settings.model, adapters=adapters, settings=settings.engine, progress=progress)
        stack.callback(chat.close)
        if settings.kb:
            knowledge = open_knowledge(settings.kb, embedder=settings.embedder, settings=settings.answer)
            stack.callback(knowledge.close)
            chat = KnowledgeChat(knowledge, chat)
            stack.callback(chat.close)
        yield Conversation(chat, settings, sampling(settings))


def sampling(settings: ChatSettings) -> SamplingParams:
    """How answers are sampled: as asked for, else as the knowledge base's or the model's own settings say."""
    if settings.kb:
        usual: dict[str, Any] = {
            "temperature": settings.answer.temperature,
            "max_tokens": settings.answer.max_tokens,
        }
    else:
        from weightwright.weights.advised import advised_by

        advised = advised_by(settings.model)
        drawn = {} if advised.keys() & {"temperature", "top_p", "top_k", "min_p"} else _USUAL
        usual = drawn | advised
    asked = settings.model_dump(include=set(SamplingParams.model_fields), exclude_none=True)
    return SamplingParams(**({"max_tokens": None} | usual | asked))


# --- repeating --------------------------------------------------------------------------------------

_LOOK_EVERY = 40  # characters
_LOOKED_AT = 2400  # characters at the end of the text
_TIMES, _BYTES = 4, 200  # so often, and together so long in UTF-8
_MARKER = re.compile(r"^(\s*)\d+([.)])", re.MULTILINE)


def looping(text: str) -> str:
    """What a text ends in saying again and again, at least four times and over 200 bytes; empty where it does not.

    The numbers of a list do not count: the same item under another number is the same.
    """
    tail = _MARKER.sub(r"\1#\2", text)[-_LOOKED_AT:]
    back = tail[::-1]
    # Knuth, Morris and Pratt's table: borders[i] is the longest proper border of back[: i + 1]
    borders = [0] * len(back)
    size = 0
    for i, character in enumerate(back):
        size += len(character.encode("utf-8", "surrogatepass"))
        k = borders[i - 1] if i else 0
        while k and character != back[k]:
            k = borders[k - 1]
        if i and character == back[k]:
            k += 1
        borders[i] = k
        period = i + 1 - k
        if size >= _BYTES and i + 1 >= _TIMES * period:
            return tail[-period:]
    return ""
