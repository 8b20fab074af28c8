"""`weightwright chat`: a terminal chat that streams, with history and multi-line input."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import Field

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.config import Settings
from weightwright.engine.settings import EngineSettings
from weightwright.errors import RequestError
from weightwright.ports import Chat, ChatRequest, Message, SamplingParams
from weightwright.rag.settings import AnswerSettings

_HELP = '''/reset   forget the conversation
/exit    leave (Ctrl-D does too); Ctrl-C stops an answer
"""      begins and ends a message of several lines; so does a \\ at a line's end'''


class ChatSettings(Settings):
    """Who is asked, and how."""

    model: str = Field(description="model address")
    kb: str = Field("", description="answer from this knowledge base, with citations")
    adapter: Path | None = Field(None, description="folder of a LoRA adapter")
    embedder: str = Field("", description="embedder of the knowledge base; default: its own")
    system: str = Field("", description="system message")
    max_tokens: int | None = Field(None, ge=1, description="limit of an answer; default: the context")
    temperature: float = Field(0.0, ge=0, description="0 always takes the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    seed: int | None = Field(None, description="same seed, same answer")
    engine: EngineSettings = EngineSettings()
    answer: AnswerSettings = AnswerSettings()


@verb(ChatSettings, section="chat", positional=("model",))
def chat(settings: ChatSettings) -> Outcome | None:
    """Talk with a model in the terminal; a question on stdin is answered and that is all."""
    with _opened(settings) as opened:
        conversation = Conversation(opened, settings)
        if not sys.stdin.isatty():
            question = sys.stdin.read().strip()
            if not question:
                raise RequestError("stdin is empty; pipe a question in, or run chat in a terminal")
            conversation.ask(question)
            return None
        sys.stderr.write(f"{settings.model} - /help says what you can type\n")
        for message in _typed():
            if message == "/reset":
                conversation.reset()
            elif message == "/help":
                sys.stderr.write(_HELP + "\n")
            else:
                conversation.ask(message)
    return None


class Conversation:
    """The turns so far; `ask` adds a question and its answer, printed as it comes."""

    def __init__(self, opened: Chat, settings: ChatSettings) -> None:
        self._chat = opened
        self._adapter = "adapter" if settings.adapter is not None else None
        self._system = (Message("system", settings.system),) if settings.system else ()
        self._params = SamplingParams(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=settings.seed,
        )
        self._turns: tuple[Message, ...] = self._system

    def reset(self) -> None:
        """Forget everything but the system message."""
        self._turns = self._system

    def ask(self, question: str) -> None:
        """Print the answer as it comes. Ctrl-C stops it and keeps what was said so far."""
        turns = (*self._turns, Message("user", question))
        request = ChatRequest(messages=turns, adapter=self._adapter, params=self._params)
        reply = self._chat.submit(request)
        said = ""
        try:
            for piece in reply:
                said += piece.text
                sys.stdout.write(piece.text)
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            reply.cancel()
        except RequestError as error:
            if not sys.stdin.isatty():
                raise
            sys.stderr.write(f"error: {error}\n")
            return
        sys.stdout.write("\n")
        for citation in reply.result().completions[0].citations:
            page = f", page {citation.page}" if citation.page is not None else ""
            sys.stdout.write(f"  [{citation.n}] {citation.path or citation.document}{page}\n")
        self._turns = (*turns, Message("assistant", said))


@contextmanager
def _opened(settings: ChatSettings) -> Iterator[Chat]:
    from weightwright.connect import open_chat, open_knowledge
    from weightwright.rag.answer import KnowledgeChat

    adapters = {"adapter": settings.adapter} if settings.adapter is not None else {}
    with ExitStack() as stack:
        with bar("loading") as progress:
            chat: Chat = open_chat(
                settings.model, adapters=adapters, settings=settings.engine, progress=progress
            )
            stack.callback(chat.close)
            if settings.kb:
                knowledge = open_knowledge(settings.kb, embedder=settings.embedder, settings=settings.answer)
                stack.callback(knowledge.close)
                chat = KnowledgeChat(knowledge, chat)
                stack.callback(chat.close)
        yield chat


def _typed() -> Iterator[str]:
    """Messages typed on the terminal, until /exit or Ctrl-D."""
    import readline  # noqa: F401 - line editing and history for input()

    while True:
        try:
            message = _message()
        except EOFError:
            sys.stderr.write("\n")
            return
        if message == "/exit":
            return
        if message:
            yield message


def _message() -> str:
    line = input(">>> ")
    if line.startswith('"""'):
        lines = [line[3:]]
        while not lines[-1].endswith('"""'):
            lines.append(input("... "))
        return "\n".join(lines).removesuffix('"""').strip()
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("... "))
    return "\n".join(lines).strip()
