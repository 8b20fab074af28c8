"""Turns of a conversation as they stand in a row: OpenAI's `messages`, ShareGPT's `conversations`, tool calls.

Both styles may stand in either field; roles by any of their usual names. A call in ShareGPT's style is a turn of its
own (`function_call`, JSON with name and arguments), in OpenAI's a part of an assistant's turn (`tool_calls`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from weightwright.data.jsontext import ROLES, json_problem
from weightwright.data.row import Row, is_truth, kind_of
from weightwright.data.sample import Tools
from weightwright.errors import DataError
from weightwright.ports import Message, Role, ToolCall

_CALL = "function_call"
_TAG_ROLES: dict[str, str] = {
    "user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "function_tag": _CALL,
    "system_tag": "system",
}  # fmt: skip
# parts of a turn that would change what it says, and that are not read
_UNREAD = ("images", "videos", "audios", "audio", "refusal")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
# OpenAI's, ms-swift's, axolotl's, verl's and LLaMA-Factory's marks of a turn that is to be learnt or not
_LEARN_MARKS = ("weight", "loss", "train", "training", "trainable", "loss_mask", "loss_weight")
_MASKED_MARK = "masked"  # torchtune's: true where nothing is to be learnt
_MARKED_PARTS = ("train_detail", "training_detail")  # axolotl's: parts of a turn
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_CALL_FORM = 'JSON {"name", "arguments"} or a list of them'


def read_turns(row: Row, wanted: str) -> tuple[list[Message], list[bool]]:
    """The messages in a field, and which of them are answers to learn: an assistant's that no mark takes out."""
    turns = row.get(wanted)
    if not isinstance(turns, list) or not turns:
        raise row.wrong(wanted, "a list of at least one {role, content} or {from, value}", turns)
    messages, learnt = [], []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict):
            raise row.wrong(
                f"{row.name(wanted)}[{number}]", "an object {role, content} or {from, value}", turn
            )
        message, learn = _read_turn(turn, row, wanted, f"message {number}")
        messages.append(message)
        learnt.append(learn)
    return _numbered(messages), learnt


def read_turn(row: Row, wanted: str) -> tuple[Message, bool]:
    """The one message in a field, and whether it is an answer to learn."""
    value = row.get(wanted)
    if not isinstance(value, dict):
        raise row.wrong(wanted, "an object {role, content} or {from, value}", value)
    return _read_turn(value, row, wanted, row.name(wanted) or wanted)


def _read_turn(values: Mapping[str, Any], row: Row, field: str, part: str) -> tuple[Message, bool]:
    turn = Row(values, row.place.within(part))
    message = _turn(turn, row.layout.tags)
    marks = _marks(turn)
    answer = message.role == "assistant"
    unread = {*turn.unread(), *(name for name, learn in marks.items() if learn and not answer)}
    row.inner_unread.update(f"{row.name(field)}.{name}" for name in unread)
    return message, answer and all(marks.values())


def _marks(turn: Row) -> dict[str, bool]:
    """The marks of a turn, each with whether it is to be learnt. Raises DataError for one that is no yes or no."""
    for name in _MARKED_PARTS:
        if turn.get(name):
            raise DataError(
                turn.place, f"{name!r} marks parts of a turn, only whole turns are read; use train: false"
            )
    marks = {}
    for name in (*_LEARN_MARKS, _MASKED_MARK):
        value = turn.get(name)
        if value is None or value == "":
            continue
        truth = value if is_truth(value) else _TRUTHS.get(str(value).strip().lower())
        if truth is None:
            raise DataError(turn.place, f"{name!r} must be 1 or 0, or true or false, found {value!r}")
        marks[name] = bool(truth) is not (name == _MASKED_MARK)
    return marks


def read_tools(row: Row) -> Tools:
    """The functions that may be called, each as OpenAI describes it, from `tools` (a list, or JSON as text)."""
    value = row.get("tools") or row.get("functions")
    if isinstance(value, str):
        value = _opened(value, row, "tools", "a list of functions") if value.strip() else None
    if not value:
        return ()
    if not isinstance(value, list):
        raise row.wrong("tools", "a list of functions, or that as JSON text", value)
    tools = []
    for tool in value:
        inner = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise row.wrong("tools", "a list of functions, each an object with a name", tool)
        tools.append(tool if "function" in tool else {"type": "function", "function": inner})
    return tuple(tools)


def _turn(turn: Row, tags: Mapping[str, str]) -> Message:
    """One turn; `turn.place` says which. Raises DataError for a role or a content that cannot be read."""
    for name in _UNREAD:
        if turn.values.get(name):
            raise DataError(turn.place, f"{name!r} cannot be learnt, only text can; remove it or the row")
    named = turn.values
    role_key = tags.get("role_tag") or ("from" if "from" in named and "role" not in named else "role")
    content_key = tags.get("content_tag") or ("value" if role_key == "from" else "content")
    role_name = turn.text(role_key)
    called = {tags[tag]: role for tag, role in _TAG_ROLES.items() if tag in tags}
    role = ROLES.get(called.get(role_name, role_name))
    if role is None:
        known = ", ".join(dict.fromkeys([*called, *ROLES]))
        raise DataError(turn.place, f"role {role_name!r} is not one of {known}")
    if role == _CALL:
        return Message("assistant", "", _calls_of_text(turn, content_key))
    calls = _calls(turn)
    if calls and role != "assistant":
        raise DataError(turn.place, f"only an assistant can call tools, this is {role_name!r}")
    return Message(
        cast(Role, role),
        _content(turn, content_key, empty=bool(calls)),
        calls,
        turn.text("tool_call_id", default=""),
        next((thought for name in _THOUGHTS if (thought := turn.text(name, default=""))), ""),
        turn.text("name", default="") if role_key == "role" else "",
    )


def _content(turn: Row, key: str, *, empty: bool) -> str:
    """A turn's text; a list of text parts is joined, and a turn that calls tools needs none."""
    value = turn.get(key)
    if value is None and empty:
        return ""
    if not isinstance(value, list):
        return turn.text(key)
    parts = []
    for part in value:
        if (
            not isinstance(part, dict)
            or part.get("type", "text") != "text"
            or not isinstance(part.get("text"), str)
        ):
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            raise turn.wrong(key, f"a text, or text parts only (it has {kind!r})", value)
        parts.append(part["text"])
    return "".join(parts)


def _calls(turn: Row) -> tuple[ToolCall, ...]:
    """The calls in OpenAI's `tool_calls`, or its older `function_call`."""
    calls = turn.get("tool_calls") or ([turn.get(_CALL)] if turn.get(_CALL) else [])
    if not isinstance(calls, list):
        raise turn.wrong("tool_calls", "a list of calls", calls)
    return tuple(_call(call, turn, "tool_calls") for call in calls)


def _calls_of_text(turn: Row, key: str) -> tuple[ToolCall, ...]:
    value = turn.get(key)
    if isinstance(value, str):
        value = _opened(value, turn, key, _CALL_FORM)
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise turn.wrong(key, _CALL_FORM, value)
    return tuple(_call(call, turn, key) for call in calls)


def _call(value: Any, turn: Row, key: str) -> ToolCall:
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise turn.wrong(key, _CALL_FORM, value)
    arguments = inner.get("arguments", inner.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _opened(arguments, turn, f"{key}.arguments", "a JSON object") if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise turn.wrong(f"{key}.arguments", "a JSON object", arguments)
    given = value.get("id") or ""
    return ToolCall(inner["name"], json.dumps(arguments, ensure_ascii=False), str(given))


def _opened(text: str, row: Row, key: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            row.place,
            f"{key!r} must be {expected}, found text that is not JSON ({error.msg} at character {error.pos})",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(row.place, f"{key!r}: {json_problem(error)}") from error


def _numbered(messages: Sequence[Message]) -> list[Message]:
    """Calls without an id get one (nine letters and digits, as Mistral wants them), and so do their results."""
    numbered: list[Message] = []
    count, waiting = 0, list[str]()
    for message in messages:
        changes: dict[str, Any] = {}
        if message.tool_calls:
            calls = []
            for call in message.tool_calls:
                count += 1
                calls.append(call if call.id else replace(call, id=f"call{count:05d}"))
            waiting = [call.id for call in calls]
            changes["tool_calls"] = tuple(calls)
        elif message.role == "tool" and not message.tool_call_id and waiting:
            changes["tool_call_id"] = waiting.pop(0)
        numbered.append(replace(message, **changes))
    return numbered
