"""Data files checked: all that `data check` finds out, as one result."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightwright.data import checks
from weightwright.data.alike import Alike, Leaks
from weightwright.data.asked import AskedKinds, kinds_asked, read_asked
from weightwright.data.catalogue import Source, left_out
from weightwright.data.checks import Lengths, Problem
from weightwright.data.folder import LeftOut
from weightwright.data.formats import objectives_of, say_kinds
from weightwright.data.grounded import PromptSettings
from weightwright.data.kinds import Kinds, count_kinds, embedded
from weightwright.data.sample import Kind
from weightwright.data.survey import Encode, Survey, read_checked
from weightwright.errors import Place
from weightwright.ports import Embedder


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
class OneFile:
    """One of the files: its rows, their length together, the groups of task that they are of, what is wrong.

    `task_kinds` is None where they are not counted; `kind` is None, and `format` "", where no row could be read.
    """

    file: str
    format: str
    kind: Kind | None
    rows: int
    length: int
    task_kinds: int | None
    broken: int
    repeats: int

    @property
    def problems(self) -> str:
        """What is wrong, in words; "" where nothing is."""
        if not self.rows:
            return "no row can be read"
        found = [f"{self.broken} broken"] if self.broken else []
        return ", ".join([*found, *([f"{self.repeats} repeated"] if self.repeats else [])])


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What was found out about rows; `over_max_length`, `unlabelled` and `labelled_tokens` need a model."""

    files: tuple[OneFile, ...]
    left_out: tuple[LeftOut, ...]
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
    asked: AskedKinds | None
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
            "files": [asdict(one) for one in self.files],
            "left_out": [one.to_json() for one in self.left_out],
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
            "asked": None if self.asked is None else self.asked.to_json(),
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
            lines.append(say_kinds([(one.file, one.kind) for one in self.files if one.kind is not None]))
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
    where: Path | Source,
    *,
    eval_path: Path | Source | None = None,
    prompt: PromptSettings | None = None,
    encode: Encode | None = None,
    embedder: Embedder | None = None,
    asked: Sequence[Path] = (),
    max_length: int = 2048,
) -> FileSummary:
    """Look at every row of files, and at what of them stands in held-out files too.

    `encode` makes a row tokens as a model will read it; without it lengths are in characters. `embedder` tells kinds
    of task apart; without it they are not counted. `asked` are questions, whose kinds are sought among
    the rows'. Raises DataError where not one row can be read.
    """
    questions = read_asked(asked)
    survey = Survey(encode, tasks=embedder is not None)
    broken: list[Problem] = []
    for known, row in read_checked(where, broken, prompt):
        survey.add(known, row)
    survey.finish()
    broken += survey.refused
    found = None if embedder is None else embedded(survey.tasks, embedder)
    kinds = None if found is None else count_kinds(found.vectors, found.unrelated)
    formats = tuple(dict.fromkeys(survey.by_file.values()))
    return FileSummary(
        files=_by_file(survey, broken, kinds),
        left_out=left_out(where),
        formats=tuple(one.name for one in formats),
        objectives=objectives_of(one.kind for one in formats),
        rows=len(survey.places),
        broken=checks.in_order(broken),
        unread=dict(survey.unread.most_common()),
        lengths=checks.lengths(survey.sizes, "tokens" if encode else "characters"),
        max_length=max_length,
        over_max_length=sum(size > max_length for size in survey.sizes) if encode else None,
        labelled_tokens=survey.labelled_tokens if encode else None,
        unlabelled=tuple(survey.unlabelled) if encode else None,
        duplicates=tuple(survey.alike.duplicates),
        near_duplicates=survey.alike.near(),
        same_question=tuple(survey.alike.same_question),
        placeholders=tuple(survey.placeholders),
        held_out=None if eval_path is None else _held_out(survey, eval_path, prompt),
        languages=dict(survey.languages.most_common()),
        kinds=kinds,
        asked=kinds_asked(questions, embedded(questions, embedder), found)
        if questions and embedder and found
        else None,
        examples=tuple(survey.tasks[i] for i in kinds.middles) if kinds else (),
    )


def _by_file(survey: Survey, broken: Sequence[Problem], kinds: Kinds | None) -> tuple[OneFile, ...]:
    """The files in the order of their rows; lengths in characters where nothing is encoded."""
    wrong, again = (Counter(one.place.file for one in of) for of in (broken, survey.alike.duplicates))
    tasks = Counter(
        file
        for members in (kinds.members if kinds else ())
        for file in {survey.places[n].file for n in members}
    )
    files = []
    for file in dict.fromkeys([*survey.rows, *wrong]):
        known = survey.by_file.get(file)
        name, kind = (known.name, known.kind) if known else ("", None)
        counted = tasks[file] if kinds else None
        rows, length = survey.rows[file], survey.lengths[file]
        files.append(OneFile(file, name, kind, rows, length, counted, wrong[file], again[file]))
    return tuple(files)


def _held_out(survey: Survey, where: Path | Source, prompt: PromptSettings | None) -> HeldOut:
    leaks, count = Leaks(survey.alike), 0
    broken: list[Problem] = []
    for _, row in read_checked(where, broken, prompt):
        leaks.add(row)
        count += 1
    return HeldOut(
        count, checks.in_order(broken), tuple(leaks.duplicates), tuple(leaks.same_question), leaks.near()
    )
