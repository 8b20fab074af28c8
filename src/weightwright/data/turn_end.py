"""What ends a turn: the tokens after which a model that follows its chat template has said all it wants to say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightwright.data.render import render
from weightwright.errors import DataError, ModelError, Place
from weightwright.ports import Message, Tokenizer, ToolCall

_ANSWER, _NEXT = "zqanswerzq", "zqnextzq"
_QUESTION = Message("user", "question")
_WORDS = Message("assistant", _ANSWER)
_AT = {"type": "object", "properties": {"at": {"type": "string", "description": "where"}}}
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": _AT},
}
_CALL = Message("assistant", "", (ToolCall("look", '{"at": "zqanswerzq"}', "call00001"),))
_RESULT = Message("tool", _NEXT, tool_call_id="call00001", name="look")
_MARK = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")  # <|user|>, </s>, [INST]


@dataclass(frozen=True, slots=True)
class TurnEnds:
    """The tokens that end a turn of words or of calls, and the texts of ends that are no token by themselves."""

    token_ids: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()


def turn_ends(tokenizer: Tokenizer) -> TurnEnds:
    """What the chat template ends answers with, words first; nothing where it has none or cannot be followed."""
    if not tokenizer.chat_template:
        return TurnEnds()
    marks = next_mark(tokenizer) or (_tail_of_words(tokenizer), _tail_of_call(tokenizer))
    ids, texts = dict[int, None](), dict[str, None]()
    for mark in marks:
        token = _first_token(tokenizer, mark)
        if token is not None:
            ids[token] = None
        elif mark and _MARK.match(mark):
            texts[_MARK.match(mark)[0]] = None  # type: ignore[index]
    return TurnEnds(tuple(ids), tuple(texts))


def next_mark(tokenizer: Tokenizer) -> tuple[str, str] | None:
    """The next role's mark after words and after calls, for a template that ends no turn (GLM's); None for others."""
    ended = _rendered(tokenizer, (_QUESTION, _WORDS))
    if _ANSWER not in ended or ended.rpartition(_ANSWER)[2].strip():
        return None
    asked = _rendered(tokenizer, (_QUESTION, _WORDS, Message("user", _NEXT)))
    words = _mark(tokenizer, asked.rpartition(_ANSWER)[2].partition(_NEXT)[0])
    called = _rendered(tokenizer, (_QUESTION, _CALL), tools=True)
    told = _rendered(tokenizer, (_QUESTION, _CALL, _RESULT), tools=True)
    calls = ""
    if called and told.startswith(called.rstrip()):
        calls = _mark(tokenizer, told[len(called.rstrip()) :].partition(_NEXT)[0])
    return words, calls or words


def _mark(tokenizer: Tokenizer, between: str) -> str:
    """The mark with which `between`, what stands between two turns, begins; "" where it is none."""
    between = between.lstrip()
    token = _first_token(tokenizer, between)
    if token is not None:
        return tokenizer.decode([token])
    known = _MARK.match(between)
    return known[0] if known else ""


def _tail_of_words(tokenizer: Tokenizer) -> str:
    """What stands after an answer of words."""
    _, shown, tail = _rendered(tokenizer, (_QUESTION, _WORDS)).rpartition(_ANSWER)
    return tail.strip() if shown else ""


def _tail_of_call(tokenizer: Tokenizer) -> str:
    """The last token of a text that ends with a call of a tool, where it is a special one."""
    text = _rendered(tokenizer, (_QUESTION, _CALL), tools=True).rstrip()
    if _ANSWER not in text:
        return ""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return tokenizer.decode(ids[-1:]) if ids[-1] in _special(tokenizer) else ""


def _first_token(tokenizer: Tokenizer, text: str) -> int | None:
    """The token with which `text` begins, where it is a special one."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else ()
    return int(ids[0]) if ids and ids[0] in _special(tokenizer) else None


def _special(tokenizer: Tokenizer) -> set[int]:
    """Special tokens: those that the tokenizer names, and added ones that its config marks so."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*getattr(tokenizer, "all_special_ids", ()), *(i for i, token in added.items() if token.special)}


def _rendered(tokenizer: Tokenizer, messages: Sequence[Message], *, tools: bool = False) -> str:
    """The text of these messages; "" where the template refuses them."""
    try:
        return render(messages, tokenizer, Place(), tools=(_TOOL,) if tools else ())
    except (DataError, ModelError):
        return ""
