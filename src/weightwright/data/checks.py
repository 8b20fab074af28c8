"""What can be said of a single row that is checked, for `data check`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightwright.data.sample import Built, Judged, Pair, Prompt, Sample, Text
from weightwright.errors import Place
from weightwright.ports import Message


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be trained on, and why."""

    place: Place
    problem: str

    def to_json(self) -> dict[str, str]:
        """As the command line prints it."""
        return {"place": str(self.place), "problem": self.problem}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of rows: in tokens, or in characters without a model."""

    unit: str
    min: int
    median: int
    p95: int
    max: int
    total: int


def in_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems in the order of their rows in the files."""
    return tuple(sorted(problems, key=lambda problem: problem.place))


def say_unread(fields: Mapping[str, int]) -> str:
    """The fields that nothing read, with the number of rows in which they are filled, as a line."""
    listed = ", ".join(
        f"{name} ({count} {'row' if count == 1 else 'rows'})" for name, count in fields.items()
    )
    return f"filled fields that are not read: {listed}; rename what is to be learnt (the guide, Rows, has the names)"


_PLACEHOLDER = re.compile(r"\{\{\w+\}\}")


def unfilled(row: Built) -> Problem | None:
    """The placeholders such as {{name}} that a row answers with and does not ask with; None without one."""
    messages = () if isinstance(row, Text) else _messages(row)
    said = {name for m in messages if m.role == "assistant" for name in _PLACEHOLDER.findall(m.content)}
    asked = {name for m in messages if m.role != "assistant" for name in _PLACEHOLDER.findall(m.content)}
    return Problem(row.place, ", ".join(sorted(said - asked))) if said - asked else None


def lengths(values: Sequence[int], unit: str) -> Lengths:
    """Smallest, median, 95th percentile and largest of at least one length."""
    of = np.asarray(values)
    median, p95 = (int(x) for x in np.percentile(of, [50, 95], method="higher"))
    return Lengths(unit, int(of.min()), median, p95, int(of.max()), int(of.sum()))


def question_of(row: Built) -> str:
    """What is asked in a row: all turns but the last answer, without system texts; "" for a plain text."""
    if isinstance(row, Text):
        return ""
    messages = _messages(row)
    last = next(
        (i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "assistant"), len(messages)
    )
    return _words(messages[:last])


def task_of(row: Built) -> str:
    """What tells a row's kind of task: its instruction, or a conversation's first question; a plain text itself."""
    if isinstance(row, Text):
        return row.text
    if isinstance(row, Sample) and row.task.strip():
        return row.task
    users = [message.content for message in _messages(row) if message.role == "user"]
    return users[0 if isinstance(row, Sample) else -1] if users else ""


def words_of(row: Built) -> str:
    """The text of a row without the parts that many rows share: system prompts and grounding passages."""
    if isinstance(row, Text):
        return row.text
    if isinstance(row, Sample) and row.question:
        return f"{row.question}\n{row.messages[-1].content}"
    said = _words(_messages(row))
    return f"{said}\n{row.rejected.messages[-1].content}" if isinstance(row, Pair) else said


def _messages(row: Sample | Pair | Judged | Prompt) -> tuple[Message, ...]:
    if isinstance(row, Pair):
        return row.chosen.messages
    return row.sample.messages if isinstance(row, Judged) else row.messages


def _words(messages: Sequence[Message]) -> str:
    parts = []
    for message in messages:
        if message.role != "system":
            parts += [message.reasoning, message.content]
            parts += [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(part for part in parts if part)


def identity(row: Built) -> tuple[Any, ...]:
    """What is equal for identical rows, wherever they stand in the files, and whose `repr` is, too."""
    if isinstance(row, Text):
        return (row.text.strip(),)
    if isinstance(row, Pair):
        return identity(row.chosen), identity(row.rejected)
    if isinstance(row, Judged):
        return identity(row.sample), row.good
    answers = () if isinstance(row, Prompt) else row.answers
    return row.messages, answers, json.dumps(row.tools, sort_keys=True, default=str)
