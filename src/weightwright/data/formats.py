"""Rows of a data file as conversations: Alpaca, OpenAI `messages`, and grounded questions.

A file is a JSON list or JSON lines. Its first row decides which format it is in; a row that does not
fit is refused with its file, its line and the field that was expected: nothing is skipped in silence.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from weightwright.data import grounded
from weightwright.data.grounded import PromptSettings
from weightwright.errors import DataError
from weightwright.ports import Message, Role


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation to learn from.

    `answers[i]` says whether message i is an answer that may carry loss (an assistant turn whose
    `weight` is not 0); `place` is where the row stands, for messages to the user.
    """

    messages: tuple[Message, ...]
    answers: tuple[bool, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file, with its place (`rows.jsonl, line 3`)."""

    values: Mapping[str, Any]
    place: str

    def text(self, field: str, *, default: str | None = None) -> str:
        """A field that must be a text; `default` stands for an absent one."""
        value = self.values.get(field, default)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(field, "a text", value)
        return value

    def filled(self, field: str) -> str:
        """A field that must be a text with something in it."""
        text = self.text(field)
        if not text.strip():
            raise DataError(f"{self.place}: {field!r} is empty; fill it or remove the row")
        return text

    def wrong(self, field: str, expected: str, value: Any) -> DataError:
        """The error that says what was expected in `field`."""
        if value is None and field not in self.values:
            have = ", ".join(map(str, self.values)) or "none"
            return DataError(f"{self.place}: field {field!r} is missing ({expected}); the row has: {have}")
        return DataError(f"{self.place}: {field!r} must be {expected}, found {_kind(value)}")


def read_samples(path: Path, prompt: PromptSettings | None = None) -> list[Sample]:
    """All rows of a file as conversations; `prompt` gives grounded rows their instructions.

    Raises DataError naming file, line and field.
    """
    rows = list(read_rows(path))
    build = FORMATS[detect(rows[0])]
    return [build(row, prompt or PromptSettings()) for row in rows]


def detect(row: Row) -> str:
    """The name of the format that a row is in. Raises DataError listing those that can be read."""
    for name, fields in _MARKS.items():
        if fields <= row.values.keys():
            return name
    known = "; ".join(f"{name}: {', '.join(sorted(fields))}" for name, fields in _MARKS.items())
    raise DataError(
        f"{row.place}: no known format has the fields {', '.join(map(str, row.values)) or '(none)'}; {known}"
    )


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON list or of JSON lines. Raises DataError with the line that cannot be read."""
    text = _read_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty; it must hold at least one row")
    values = _json_list(path, text) if text.lstrip().startswith("[") else _json_lines(path, text)
    count = 0
    for place, value in values:
        if not isinstance(value, dict):
            raise DataError(f"{place}: a row must be an object with named fields, found {_kind(value)}")
        count += 1
        yield Row(value, place)
    if not count:
        raise DataError(f"{path} is an empty list; it must hold at least one row")


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise DataError(f"{path} is a directory; give one .json or .jsonl file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8 and try again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _json_list(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})"
        ) from error
    for number, value in enumerate(values, 1):
        yield f"{path}, row {number}", value


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            yield place, json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place}: not valid JSON ({error.msg}); expected one object a line, "
                "or a file that is one list [...] of objects"
            ) from error


def _alpaca(row: Row, _prompt: PromptSettings) -> Sample:
    question = row.filled("instruction")
    extra = row.text("input", default="")
    system = row.text("system", default="")
    turns = [Message("system", system)] if system else []
    for past_question, past_answer in _history(row):
        turns += [Message("user", past_question), Message("assistant", past_answer)]
    turns.append(Message("user", f"{question}\n{extra}" if extra.strip() else question))
    turns.append(Message("assistant", row.filled("output")))
    return _sample(turns, row)


def _history(row: Row) -> Iterator[tuple[str, str]]:
    history = row.values.get("history") or []
    if not isinstance(history, list):
        raise row.wrong("history", "a list of [question, answer] pairs", history)
    for pair in history:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise row.wrong("history", "a list of [question, answer] pairs of texts", pair)
        yield pair[0], pair[1]


def _openai(row: Row, _prompt: PromptSettings) -> Sample:
    turns = row.values["messages"]
    if not isinstance(turns, list) or not turns:
        raise row.wrong("messages", "a list of at least one {role, content}", turns)
    messages, answers = [], []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict):
            raise row.wrong(f"messages[{number}]", "an object {role, content}", turn)
        inner = Row(turn, f"{row.place}, message {number}")
        role = inner.text("role")
        if role not in get_args(Role):
            raise DataError(f"{inner.place}: role {role!r} is not one of {', '.join(get_args(Role))}")
        message = Message(role, inner.text("content"))  # type: ignore[arg-type]
        messages.append(message)
        answers.append(role == "assistant" and turn.get("weight", 1) != 0)
    return Sample(tuple(messages), tuple(answers), row.place)


def _grounded(row: Row, prompt: PromptSettings) -> Sample:
    passages = row.values.get("passages") or []
    if not isinstance(passages, list) or not all(isinstance(passage, str) for passage in passages):
        raise row.wrong("passages", "a list of texts", passages)
    turns = grounded.messages(row.filled("question"), passages, prompt)
    return _sample([*turns, Message("assistant", row.filled("answer"))], row)


def _sample(turns: Sequence[Message], row: Row) -> Sample:
    return Sample(tuple(turns), tuple(turn.role == "assistant" for turn in turns), row.place)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")


FORMATS: dict[str, Callable[[Row, PromptSettings], Sample]] = {
    "messages": _openai,
    "alpaca": _alpaca,
    "grounded": _grounded,
}
_MARKS: dict[str, frozenset[str]] = {
    "messages": frozenset({"messages"}),
    "alpaca": frozenset({"instruction", "output"}),
    "grounded": frozenset({"question", "answer"}),
}
