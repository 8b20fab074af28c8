"""One data file checked: all that `data check` finds out, as one result."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightwright.data import checks
from weightwright.data.checks import Alike, Lengths, Problem
from weightwright.data.formats import OBJECTIVES
from weightwright.data.grounded import PromptSettings
from weightwright.data.kinds import Kinds, kinds_of
from weightwright.data.sample import Built, Prompt
from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.ports import Embedder

Encode = Callable[[Built], tuple[Encoded, ...]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out rows that stand among the rows to learn from, fully, by their question, or nearly."""

    rows: int
    broken: tuple[Problem, ...]
    duplicates: tuple[Alike, ...]
    same_question: tuple[Alike, ...]
    near_duplicates: tuple[Alike, ...]

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "rows": self.rows,
            "broken": [one.to_json() for one in self.broken],
            "duplicates": [one.to_json() for one in self.duplicates],
            "same_question": [one.to_json() for one in self.same_question],
            "near_duplicates": [one.to_json() for one in self.near_duplicates],
        }


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What was found out about a file; `over_max_length`, `unlabelled` and `labelled_tokens` need a model."""

    formats: tuple[str, ...]
    objectives: tuple[str, ...]
    rows: int
    broken: tuple[Problem, ...]
    unread: dict[str, int]  # filled fields that nothing reads, with the number of rows
    lengths: Lengths
    max_length: int
    over_max_length: int | None
    labelled_tokens: int | None
    unlabelled: tuple[Place, ...] | None
    duplicates: tuple[Alike, ...]
    near_duplicates: tuple[Alike, ...]
    same_question: tuple[Alike, ...]
    placeholders: tuple[Problem, ...]
    held_out: HeldOut | None
    languages: dict[str, int]
    kinds: Kinds | None
    examples: tuple[str, ...]  # one instruction or question for each kind

    def to_json(self) -> dict[str, Any]:
        """The result as the command line prints it."""
        tokens: dict[str, Any] = {**asdict(self.lengths), "max_length": self.max_length}
        tokens |= {"over_max_length": self.over_max_length, "labelled_tokens": self.labelled_tokens}
        tokens["unlabelled"] = None if self.unlabelled is None else [str(place) for place in self.unlabelled]
        kinds = None
        if self.kinds is not None:
            kinds = {
                "count": self.kinds.count,
                "sizes": list(self.kinds.sizes),
                "examples": list(self.examples),
                "rows_sampled": self.kinds.sampled,
            }
        return {
            "formats": list(self.formats),
            "objectives": list(self.objectives),
            "rows": self.rows,
            "broken": [one.to_json() for one in self.broken],
            "unread": self.unread,
            "lengths": tokens,
            "duplicates": [one.to_json() for one in self.duplicates],
            "near_duplicates": [one.to_json() for one in self.near_duplicates],
            "same_question": [one.to_json() for one in self.same_question],
            "placeholders": [one.to_json() for one in self.placeholders],
            "eval": None if self.held_out is None else self.held_out.to_json(),
            "languages": self.languages,
            "kinds_of_task": kinds,
        }

    @property
    def verdict(self) -> tuple[str, ...]:
        """What to do about it, the worst first; empty where nothing is wrong."""
        said = [
            (self.broken, "that cannot be learnt from", "mend or remove them"),
            (self.unlabelled or (), "without a labelled token", "tune refuses them"),
            (
                self.placeholders,
                "that answer with a placeholder",
                "put what it stands for in its place, else the model learns to say it",
            ),
            (
                self._leaks(),
                "held out that stand among the rows to learn from",
                "the held-out loss will be too good",
            ),
            (
                self.same_question,
                "that ask what an earlier one asks, answered otherwise",
                "the model learns both",
            ),
            (self.duplicates, "that repeat an earlier one", "they count twice"),
            (self.near_duplicates, "that nearly repeat an earlier one", "they almost count twice"),
        ]
        lines = []
        if not self.objectives:
            lines.append(
                "rows are of several kinds, which no --objective reads together: divide them into files"
            )
        lines += [f"rows {what}: {len(rows)}; {then}" for rows, what, then in said if rows]
        if self.unread:
            lines.append(checks.say_unread(self.unread))
        if self.over_max_length:
            lines.append(
                f"rows longer than {self.max_length} tokens: {self.over_max_length}; choose --too-long, or raise "
                "--max-length"
            )
        return tuple(lines)

    def _leaks(self) -> Sequence[Alike]:
        if self.held_out is None:
            return ()
        return (*self.held_out.duplicates, *self.held_out.same_question, *self.held_out.near_duplicates)


def check(
    path: Path,
    *,
    eval_path: Path | None = None,
    prompt: PromptSettings | None = None,
    encode: Encode | None = None,
    embedder: Embedder | None = None,
    max_length: int = 2048,
) -> FileSummary:
    """Look at every row of a file, and at what of it stands in a held-out file too.

    `encode` makes a row tokens as a model will read it; without it lengths are in characters. `embedder` tells kinds
    of task apart; without it they are not counted. Raises DataError where not one row can be read.
    """
    read = checks.read_all(path, prompt)
    rows, broken = read.rows, read.problems
    encoded: list[Encoded] = []
    if encode is not None:
        encoded, refused = checks.encode_each(rows, encode)
        broken = (*broken, *refused)
    sizes = [len(one) for one in encoded] or [len(checks.words_of(row)) for row in rows]
    tasks = [checks.task_of(row) for row in rows]
    kinds = None if embedder is None else kinds_of(tasks, embedder)
    asked_only = all(isinstance(row, Prompt) for row in rows)
    return FileSummary(
        formats=tuple(one.name for one in read.formats),
        objectives=OBJECTIVES[read.formats[0].kind] if len({one.kind for one in read.formats}) == 1 else (),
        rows=len(rows),
        broken=checks.in_order(broken),
        unread=checks.unread(rows),
        lengths=checks.lengths(sizes, "tokens" if encode else "characters"),
        max_length=max_length,
        over_max_length=sum(len(one) > max_length for one in encoded) if encode else None,
        labelled_tokens=sum(one.labelled_tokens for one in encoded) if encode else None,
        unlabelled=tuple(one.place for one in encoded if not (one.labelled_tokens or asked_only))
        if encode
        else None,
        duplicates=tuple(checks.duplicates(rows)),
        near_duplicates=tuple(checks.near(rows)),
        same_question=tuple(checks.same_question(rows)),
        placeholders=tuple(checks.unfilled(rows)),
        held_out=None if eval_path is None else _held_out(rows, checks.read_all(eval_path, prompt)),
        languages=checks.languages(rows),
        kinds=kinds,
        examples=tuple(tasks[i] for i in kinds.middles) if kinds else (),
    )


def _held_out(rows: Sequence[Built], held_out: checks.Checked) -> HeldOut:
    equal, asked, nearly = checks.leaked(rows, held_out.rows)
    return HeldOut(len(held_out.rows), held_out.problems, tuple(equal), tuple(asked), tuple(nearly))
