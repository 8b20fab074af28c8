"""Data files checked: all that `data check` finds out, as one result."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightwright.data import checks
from weightwright.data.asked import AskedKinds, kinds_asked, read_asked
from weightwright.data.catalogue import Source, left_out
from weightwright.data.checks import Alike, Lengths, Problem
from weightwright.data.folder import LeftOut
from weightwright.data.formats import objectives_of, say_kinds
from weightwright.data.grounded import PromptSettings
from weightwright.data.kinds import Kinds, count_kinds, embedded
from weightwright.data.sample import Built, Kind, Prompt
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
    read = checks.read_all(where, prompt)
    rows, broken = read.rows, read.problems
    encoded: list[Encoded] = []
    if encode is not None:
        encoded, refused = checks.encode_each(rows, encode)
        broken = (*broken, *refused)
    sizes = [len(one) for one in encoded] or [len(checks.words_of(row)) for row in rows]
    tasks = [checks.task_of(row) for row in rows]
    found = None if embedder is None else embedded(tasks, embedder)
    kinds = None if found is None else count_kinds(found.vectors, found.unrelated)
    asked_only = all(isinstance(row, Prompt) for row in rows)
    repeated = tuple(checks.duplicates(rows))
    return FileSummary(
        files=_by_file(read, broken, repeated, encoded, kinds),
        left_out=left_out(where),
        formats=tuple(one.name for one in read.formats),
        objectives=objectives_of(one.kind for one in read.formats),
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
        duplicates=repeated,
        near_duplicates=tuple(checks.near(rows)),
        same_question=tuple(checks.same_question(rows)),
        placeholders=tuple(one for row in rows if (one := checks.unfilled(row))),
        held_out=None if eval_path is None else _held_out(rows, checks.read_all(eval_path, prompt)),
        languages=checks.languages(rows),
        kinds=kinds,
        asked=kinds_asked(questions, embedded(questions, embedder), found)
        if questions and embedder and found
        else None,
        examples=tuple(tasks[i] for i in kinds.middles) if kinds else (),
    )


def _by_file(
    read: checks.Checked,
    broken: Sequence[Problem],
    repeated: Sequence[Alike],
    encoded: Sequence[Encoded],
    kinds: Kinds | None,
) -> tuple[OneFile, ...]:
    """The files in the order of their rows; lengths in characters where nothing is encoded."""
    rows = Counter(row.place.file for row in read.rows)
    wrong, again = (Counter(one.place.file for one in of) for of in (broken, repeated))
    sizes = [(one.place.file, len(one)) for one in encoded] or [
        (row.place.file, len(checks.words_of(row))) for row in read.rows
    ]
    lengths: Counter[str] = Counter()
    for file, size in sizes:
        lengths[file] += size
    tasks = Counter(
        file
        for members in (kinds.members if kinds else ())
        for file in {read.rows[n].place.file for n in members}
    )
    files = []
    for file in dict.fromkeys([*rows, *wrong]):
        known = read.by_file.get(file)
        name, kind = (known.name, known.kind) if known else ("", None)
        counted = tasks[file] if kinds else None
        files.append(OneFile(file, name, kind, rows[file], lengths[file], counted, wrong[file], again[file]))
    return tuple(files)


def _held_out(rows: Sequence[Built], held_out: checks.Checked) -> HeldOut:
    equal, asked, nearly = checks.leaked(rows, held_out.rows)
    return HeldOut(len(held_out.rows), held_out.problems, tuple(equal), tuple(asked), tuple(nearly))
