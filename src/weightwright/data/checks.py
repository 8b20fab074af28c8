"""Checks of a data file before training, for `data check`: pure functions of its rows."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightwright.data.build import Format
from weightwright.data.catalogue import Source
from weightwright.data.formats import read_parts
from weightwright.data.grounded import PromptSettings
from weightwright.data.language import tongue_of
from weightwright.data.near import near_across, near_duplicates
from weightwright.data.sample import Built, Judged, Pair, Prompt, Sample, Text
from weightwright.data.template import Encoded
from weightwright.errors import DataError, ModelError, Place, PlacedError
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
class Checked:
    """The rows at data addresses, those that cannot be read, and each file's format."""

    by_file: Mapping[str, Format]
    rows: tuple[Built, ...]
    problems: tuple[Problem, ...]

    @property
    def formats(self) -> tuple[Format, ...]:
        """Each format once."""
        return tuple(dict.fromkeys(self.by_file.values()))


@dataclass(frozen=True, slots=True)
class Alike:
    """Two rows that are alike; `similarity` is 1 for equal ones."""

    place: Place
    like: Place
    similarity: float = 1.0

    def to_json(self) -> dict[str, str | float]:
        """As the command line prints it."""
        return {"place": str(self.place), "like": str(self.like), "similarity": self.similarity}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of rows: in tokens, or in characters without a model."""

    unit: str
    min: int
    median: int
    p95: int
    max: int
    total: int


def read_all(where: Path | Source, prompt: PromptSettings | None = None) -> Checked:
    """Read every row; those that cannot be learnt from become problems.

    Raises DataError where there is no file, or no row is left.
    """
    problems: list[Problem] = []

    def note(error: DataError) -> None:
        problems.append(Problem(error.place or Place(str(where)), error.problem))

    parts = read_parts(where, prompt, note)
    rows: list[Built] = []
    by_file: dict[str, Format] = {}
    for part in parts:
        for row in part.read(note):
            rows.append(row)
            by_file[row.place.file] = part.format
    if not rows:
        if len(problems) == 1:
            raise DataError(_subject(problems[0].place), problems[0].problem)
        first = f", the first: {problems[0].place}: {problems[0].problem}" if problems else ""
        raise DataError(
            Place(str(where)), f"not one row can be learnt from ({len(problems)} are wrong{first})"
        )
    return Checked(by_file, tuple(rows), in_order(problems))


def _subject(place: Place) -> Place | str:
    """A file as a whole is the subject of a sentence."""
    return place.file if place == Place(place.file) else place


def in_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems in the order of their rows in the files."""
    return tuple(sorted(problems, key=lambda problem: problem.place))


def unread(rows: Iterable[Built]) -> dict[str, int]:
    """The fields that nothing read, with the number of rows in which they are filled, the most frequent first."""
    return dict(Counter(name for row in rows for name in row.unread).most_common())


def say_unread(fields: Mapping[str, int]) -> str:
    """Those fields as a line."""
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


# --- lengths --------------------------------------------------------------------------------------


def encode_each(
    rows: Sequence[Built], encode: Callable[[Built], tuple[Encoded, ...]]
) -> tuple[list[Encoded], list[Problem]]:
    """Encode rows; those that the model's chat template refuses become problems.

    Raises the first error where no row can be encoded.
    """
    encoded: list[Encoded] = []
    first: DataError | ModelError | None = None
    problems: list[Problem] = []
    for row in rows:
        try:
            encoded += encode(row)
        except (DataError, ModelError) as error:
            placed = error if isinstance(error, PlacedError) else PlacedError(row.place, str(error))
            problems.append(Problem(placed.place or row.place, placed.problem))
            first = first or error
    if first is not None and not encoded:
        raise first  # no row at all: the model is not the one for them
    return encoded, problems


def lengths(values: Sequence[int], unit: str) -> Lengths:
    """Smallest, median, 95th percentile and largest of at least one length."""
    of = np.asarray(values)
    median, p95 = (int(x) for x in np.percentile(of, [50, 95], method="higher"))
    return Lengths(unit, int(of.min()), median, p95, int(of.max()), int(of.sum()))


# --- duplicates -----------------------------------------------------------------------------------


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


def duplicates(rows: Sequence[Built]) -> list[Alike]:
    """Rows identical to an earlier row, each with the first such row."""
    first: dict[Hashable, Built] = {}
    pairs = []
    for row in rows:
        before = first.setdefault(_identity(row), row)
        if before is not row:
            pairs.append(Alike(row.place, before.place))
    return pairs


def same_question(rows: Sequence[Built]) -> list[Alike]:
    """Conversations with the question of an earlier one but another answer.

    Pairs and judged answers are left out: they are meant to share a question.
    """
    first: dict[str, Built] = {}
    answers: defaultdict[str, set[Hashable]] = defaultdict(set)
    pairs = []
    for row in rows:
        question = question_of(row).strip()
        if not question or not isinstance(row, Sample):
            continue
        before = first.setdefault(question, row)
        if before is not row and _identity(row) not in answers[question]:
            pairs.append(Alike(row.place, before.place))
        answers[question].add(_identity(row))
    return pairs


def near(rows: Sequence[Built]) -> list[Alike]:
    """Near-duplicates: rows similar, not identical, to an earlier row; each with one such row."""
    distinct = list({_identity(row): row for row in reversed(rows)}.values())[::-1]
    matches = near_duplicates([words_of(row) for row in distinct])
    return [_alike(distinct[one.row], distinct[one.like], one.similarity) for one in matches]


def leaked(rows: Sequence[Built], held_out: Sequence[Built]) -> tuple[list[Alike], list[Alike], list[Alike]]:
    """Held-out rows that also occur in `rows`: identical, with the same question, and near-duplicates.

    Each held-out row is listed once, under the first of these that applies.
    """
    identities = {_identity(row): row for row in reversed(rows)}
    questions = {question_of(row).strip(): row for row in reversed(rows)}
    questions.pop("", None)
    equal, asked, rest = [], [], []
    for row in held_out:
        if (same := identities.get(_identity(row))) is not None:
            equal.append(Alike(row.place, same.place))
        elif (same := questions.get(question_of(row).strip())) is not None:
            asked.append(Alike(row.place, same.place))
        else:
            rest.append(row)
    matches = near_across([words_of(row) for row in rest], [words_of(row) for row in rows])
    return equal, asked, [_alike(rest[one.row], rows[one.like], one.similarity) for one in matches]


def _alike(row: Built, like: Built, similarity: float) -> Alike:
    return Alike(row.place, like.place, round(similarity, 3))


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


def _identity(row: Built) -> Hashable:
    """A key that is equal for identical rows, wherever they stand in the files."""
    if isinstance(row, Text):
        return row.text.strip()
    if isinstance(row, Pair):
        return _identity(row.chosen), _identity(row.rejected)
    if isinstance(row, Judged):
        return _identity(row.sample), row.good
    answers = () if isinstance(row, Prompt) else row.answers
    return row.messages, answers, json.dumps(row.tools, sort_keys=True, default=str)


# --- languages ------------------------------------------------------------------------------------


def languages(rows: Sequence[Built]) -> dict[str, int]:
    """Rows per detected language, the most frequent first."""
    counts = Counter(tongue_of(words_of(row)) for row in rows)
    return dict(counts.most_common())
