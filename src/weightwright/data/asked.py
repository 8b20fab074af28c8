"""Questions that users ask beside the rows: which kinds of them have no row to learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightwright.data.files import read_file
from weightwright.data.kinds import SAMPLED_ROWS, Embedded, groups_of
from weightwright.data.row import Row
from weightwright.errors import DataError

_QUESTION = ("question", "prompt", "instruction", "query", "input", "text")
_TURNS = ("messages", "conversations")
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class AskedKind:
    """Questions of one kind, a few of them, the most typical first, and how many rows are of it."""

    questions: int
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskedKinds:
    """The kinds of the questions, the most frequent first; of more than 2,000 so many were taken."""

    questions: int
    sampled: int
    kinds: tuple[AskedKind, ...]

    @property
    def without_rows(self) -> tuple[AskedKind, ...]:
        """The kinds of which there is no row."""
        return tuple(one for one in self.kinds if not one.rows)

    def lines(self, shown: int = 10) -> list[str]:
        """What a user reads."""
        missing = self.without_rows
        if not missing:
            least = min(self.kinds, key=lambda one: one.rows / one.questions)
            return [
                f"questions asked: {self.questions:,}, each of a kind that rows are of; the fewest rows: "
                f"{least.rows:,} for {least.questions:,} like: {_short(least.examples[0])}"
            ]
        count = sum(one.questions for one in missing)
        lines = [
            f"{count:,} of {self.sampled:,} questions asked are of kinds that have no row ({len(missing)} kinds):"
        ]
        for one in missing[:shown]:
            lines.append(f"  {one.questions} like: {'; '.join(map(_short, one.examples))}")
        if len(missing) > shown:
            lines.append(f"  and {len(missing) - shown} kinds more")
        return lines

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        kinds = [
            {"questions": one.questions, "rows": one.rows, "examples": list(one.examples)}
            for one in self.kinds
        ]
        return {"questions": self.questions, "sampled": self.sampled, "kinds": kinds}


def read_asked(files: Sequence[Path]) -> list[str]:
    """The questions in files: a line each of a .txt file, else a field of a row, or a conversation's first.

    Bodies of OpenAI's batches are read, too. Raises DataError where a row asks nothing.
    """
    return [_question(row) for path in files for row in read_file(path, text_lines=True)]


def _question(row: Row) -> str:
    body = row.values.get("body")  # of OpenAI's batches
    values = body if isinstance(body, Mapping) else row.values
    inner = Row(values, row.place)
    for name in _TURNS:
        turns = inner.get(name)
        if isinstance(turns, list):
            said = next((turn for turn in turns if isinstance(turn, dict) and _is_user(turn)), {})
            text = said.get("content", said.get("value"))
            if isinstance(text, str) and text.strip():
                return text.strip()
    for name in _QUESTION:
        text = values.get(name)
        if isinstance(text, str) and text.strip():
            return text.strip()
    raise DataError(
        row.place,
        f"asks nothing: a question stands in {', '.join(_QUESTION)}, or in {' or '.join(_TURNS)}; "
        f"the row has: {', '.join(map(str, values)) or 'none'}",
    )


def _is_user(turn: Mapping[str, Any]) -> bool:
    return turn.get("role", turn.get("from")) in ("user", "human")


def kinds_asked(asked: Sequence[str], questions: Embedded, rows: Embedded, seed: int = 0) -> AskedKinds:
    """Group questions and rows together, as `kinds_of` groups rows; `questions` are the vectors of `asked`.

    Of more than 2,000 rows so many are grouped, and each other row is of the group that it is most like.
    """
    numbers, few = (_sampled(len(vectors), seed) for vectors in (questions.vectors, rows.vectors))
    taken = questions.vectors[numbers]
    groups = groups_of(np.concatenate([taken, rows.vectors[few]]), rows.unrelated)
    mine, theirs = groups[: len(numbers)], groups[len(numbers) :]
    counted = np.bincount(theirs, minlength=int(groups.max()) + 1)
    rest = np.setdiff1d(np.arange(len(rows.vectors)), few)
    counted += _joined(rows, rest, np.concatenate([taken, rows.vectors[few]]), groups)
    kinds = []
    for group in dict.fromkeys(mine.tolist()):
        members = np.flatnonzero(mine == group)
        inside = taken[members]
        typical = members[np.argsort(-(inside @ inside.sum(axis=0)), kind="stable")][:_EXAMPLES]
        kinds.append(AskedKind(len(members), int(counted[group]), tuple(asked[numbers[n]] for n in typical)))
    return AskedKinds(len(asked), len(numbers), tuple(sorted(kinds, key=lambda one: -one.questions)))


def _sampled(count: int, seed: int) -> Any:
    if count <= SAMPLED_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, SAMPLED_ROWS, replace=False))


def _joined(rows: Embedded, rest: Any, grouped: Any, groups: Any) -> Any:
    """How many of the other rows are most like each group, and like enough to be of it."""
    count = int(groups.max()) + 1
    found = np.zeros(count, dtype=np.int64)
    if not len(rest):
        return found
    means = np.zeros((count, grouped.shape[1]))
    np.add.at(means, groups, grouped)
    means /= np.bincount(groups, minlength=count)[:, None]
    for start in range(0, len(rest), SAMPLED_ROWS):
        similarity = rows.vectors[rest[start : start + SAMPLED_ROWS]] @ means.T
        best = similarity.argmax(axis=1)
        near = similarity[np.arange(len(best)), best] >= rows.least
        found += np.bincount(best[near], minlength=count)
    return found


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:59]}…"
