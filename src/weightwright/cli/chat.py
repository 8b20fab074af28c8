"""`weightwright chat`: a terminal chat that streams, with history and multi-line input."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightwright.address.models import parse_model
from weightwright.cli.flags import Outcome, Reader, said, verb
from weightwright.cli.kb import place
from weightwright.cli.progress import bar
from weightwright.conversation import ChatSettings, Conversation, Ended, opened
from weightwright.errors import RequestError

_HELP = '''/reset   forget the conversation
/exit    leave (Ctrl-D does too); Ctrl-C stops an answer
"""      begins and ends a message of several lines; so does a \\ at a line's end'''
_ENDED: dict[Ended, str] = {
    "length": "(ended by the limit of {max_tokens} tokens; --max-tokens allows more)",
    "context": "(ended, since the model's context is full; /reset forgets the conversation)",
    "repeating": "(ended, since it said the same again and again; --no-stop-repeating lets it)",
}


def _llamafactory(file: Path) -> dict[str, Any]:
    from weightwright.tune.llamafactory_asking import read_llamafactory_chat

    return said(str(file), read_llamafactory_chat(file))


_READERS = {"llamafactory": Reader(_llamafactory, "read settings from LLaMA-Factory's file for chat")}


@verb(ChatSettings, section="chat", positional=("model",), readers=_READERS)
def chat(settings: ChatSettings) -> Outcome | None:
    """Talk with a model in the terminal; a question on stdin is answered and that is all."""
    parse_model(settings.model)  # what is wrong with it is said before a question is waited for
    at_terminal = sys.stdin.isatty()
    question = "" if at_terminal else sys.stdin.read().strip()
    if not at_terminal and not question:
        raise RequestError("stdin is empty; pipe a question in, or run chat in a terminal")
    with contextlib.ExitStack() as stack:
        with bar("loading") as progress:
            conversation = stack.enter_context(opened(settings, progress))
        if question:
            _ask(conversation, question)
            return None
        sys.stderr.write(f"{settings.model} - /help says what you can type\n")
        for message in _typed():
            if message == "/reset":
                conversation.reset()
            elif message == "/help":
                sys.stderr.write(_HELP + "\n")
            else:
                try:
                    _ask(conversation, message)
                except RequestError as error:
                    sys.stderr.write(f"error: {error}\n")
    return None


def _ask(conversation: Conversation, question: str) -> None:
    """Print the answer as it comes, its citations, and why it ended where it was ended. Ctrl-C stops it."""
    turn = conversation.ask(question, _write)
    if turn.ended == "cancelled" and not sys.stdin.isatty():
        raise KeyboardInterrupt
    _write("\n")
    for citation in turn.citations:
        shown = place(citation.path or citation.document, citation.page, citation.place)
        _write(f"  [{citation.n}] {shown}\n")
    if note := _ENDED.get(turn.ended):
        sys.stderr.write(note.format(max_tokens=f"{conversation.max_tokens:,}") + "\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _typed() -> Iterator[str]:
    """Messages typed on the terminal, until /exit or Ctrl-D."""
    with contextlib.suppress(ImportError):  # Windows has none, and edits lines by itself
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
