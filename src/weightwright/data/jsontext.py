"""JSON text as values: what is wrong with it in words, and lists of turns that stand in a field as text."""

import ast
import json
import re
import sys
from typing import Any

# what a turn's role may be called, ours by theirs
ROLES = {
    "system": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "human": "user", "gpt": "assistant", "observation": "tool", "function_call": "function_call",
}  # fmt: skip
TOO_DEEP = "lists or objects stand in each other too deeply to be read; flatten them"

# fields that hold a list wherever they are filled, and fields that hold a text or turns
_LISTS = frozenset({"messages", "conversations", "history", "passages", "rejected_messages"})
_TEXT_OR_TURNS = frozenset(
    {"prompt", "completion", "chosen", "rejected", "rejected_response", "question", "query", "input"}
)
_LIKE_TURNS = re.compile(r"""\[?\s*\{\s*['"](role|from|content|value)['"]\s*:.*\}\s*\]?""", re.DOTALL)


def json_problem(error: ValueError | RecursionError) -> str:
    """What is wrong with a text that `json.loads` does not take, in words."""
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Invalid control character at":
            return "not valid JSON (a text is not closed on its line; a line break in a text is written \\n)"
        return f"not valid JSON ({error.msg})"
    if isinstance(error, RecursionError):
        return TOO_DEEP
    digits = sys.get_int_max_str_digits()
    return f"a whole number of more than {digits:,} digits is not read; write it as a text, in quotes"


def opened(text: str, field: str) -> Any:
    """The value of a field that is text: the list or the turns that it holds as JSON, else the text itself.

    Files that know only texts (CSV) hold them so, those of pandas in Python's way of writing. Raises ValueError for a
    text that looks like turns and is neither.
    """
    begins = text.lstrip()[:1]
    if begins not in ("[", "{") or field not in _LISTS | _TEXT_OR_TURNS:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        like_turns = _LIKE_TURNS.fullmatch(text.strip()) is not None
        if not like_turns and field not in _LISTS:
            return text
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            if like_turns and begins == "[":
                raise ValueError(f"looks like a list of messages, but is {json_problem(error)}") from error
            return text
    if field in _LISTS:
        return value if isinstance(value, list) else text
    return value if _are_turns(value) else text


def _are_turns(value: Any) -> bool:
    turns = value if isinstance(value, list) else [value]
    return bool(turns) and all(isinstance(turn, dict) and _is_turn(turn) for turn in turns)


def _is_turn(turn: dict[str, Any]) -> bool:
    if "from" in turn:
        return turn["from"] in ROLES and "value" in turn
    return turn.get("role") in ROLES and ("content" in turn or "tool_calls" in turn)
