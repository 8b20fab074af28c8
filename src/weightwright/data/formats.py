"""Rows of a data file as something to learn from: conversations, preference pairs, judged answers, or plain texts.

A file's first row decides which format it is in, or `dataset_info.json` says it. A row that does not fit is refused
with its file, its line and the field that was expected: nothing is skipped in silence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from weightwright.data.build import Format, format_of, prompt_of
from weightwright.data.catalogue import Source, Table, read_tables
from weightwright.data.grounded import PromptSettings
from weightwright.data.jsontext import TOO_DEEP
from weightwright.data.row import OnBroken, is_truth, stop
from weightwright.data.sample import Built as Built  # noqa: PLC0414 - handed on, with those below
from weightwright.data.sample import Judged as Judged  # noqa: PLC0414
from weightwright.data.sample import Kind as Kind  # noqa: PLC0414
from weightwright.data.sample import Pair as Pair  # noqa: PLC0414
from weightwright.data.sample import Prompt as Prompt  # noqa: PLC0414
from weightwright.data.sample import Sample as Sample  # noqa: PLC0414
from weightwright.data.sample import Text as Text  # noqa: PLC0414
from weightwright.errors import DataError, Place

B = TypeVar("B", Sample, Pair, Judged, Text)

# the objectives of `tune` that a kind of rows fits, and what its rows hold
OBJECTIVES: dict[Kind, tuple[str, ...]] = {
    "conversations": ("sft",),
    "pairs": ("dpo", "orpo", "simpo"),
    "judged": ("kto",),
    "texts": ("pretrain",),
    "prompts": ("grpo",),
}
_HOLDS: dict[Kind, str] = {
    "conversations": "conversations with an answer to learn",
    "pairs": "preference pairs (a chosen and a rejected answer)",
    "judged": "answers judged good or bad",
    "texts": "plain texts",
    "prompts": "prompts (without an answer, or conversations)",
}


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one file or data set, and the format that they were read in."""

    name: str
    format: Format
    rows: tuple[Built, ...]


def read_samples(where: Path | Source, prompt: PromptSettings | None = None) -> list[Sample]:
    """All rows at a data address as conversations; `prompt` gives grounded rows their instructions.

    Raises DataError naming file, line and field, or the objective that the file fits where it holds something else.
    """
    return _read(where, prompt, "conversations", Sample)


def read_pairs(where: Path | Source, prompt: PromptSettings | None = None) -> list[Pair]:
    """All rows at a data address as preference pairs. Raises DataError as `read_samples` does."""
    return _read(where, prompt, "pairs", Pair)


def read_judged(where: Path | Source, prompt: PromptSettings | None = None) -> list[Judged]:
    """All rows at a data address as judged answers. Raises DataError as `read_samples` does."""
    return _read(where, prompt, "judged", Judged)


def read_texts(where: Path | Source) -> list[Text]:
    """All rows at a data address as texts. Raises DataError as `read_samples` does."""
    return _read(where, None, "texts", Text)


def read_prompts(where: Path | Source, prompt: PromptSettings | None = None) -> list[Prompt]:
    """All rows at a data address as prompts to be answered; of conversations the last answer is left out.

    Raises DataError as `read_samples` does.
    """
    found: list[Prompt] = []
    for table, known in _fitting(where, "prompts"):
        found += [prompt_of(row, known.build(row, prompt or PromptSettings())) for row in table.rows]
    return found


def read_parts(
    where: Path | Source, prompt: PromptSettings | None = None, broken: OnBroken = stop
) -> list[Part]:
    """What stands at data addresses, whatever it is; what cannot be read is handed to `broken`."""
    parts = []
    for table in read_tables(where, broken):
        try:
            known = _format_of(table) if table.rows else None
        except DataError as error:
            broken(error)
            known = None
        if known is not None:
            parts.append(_built(table, known, prompt, broken))
    return parts


def _format_of(table: Table) -> Format:
    """The format of rows of which it is not known what they are for; labels that are all 1 or 0 are judgements."""
    return format_of(table.rows[0], judged=all(is_truth(row.values.get("label")) for row in table.rows))


def _read(where: Path | Source, prompt: PromptSettings | None, kind: Kind, wanted: type[B]) -> list[B]:
    matching: list[B] = []
    for table, known in _fitting(where, kind):
        rows = _built(table, known, prompt, stop).rows
        matching += [row for row in rows if isinstance(row, wanted)]
    return matching


def _fitting(where: Path | Source, kind: Kind) -> list[tuple[Table, Format]]:
    """The tables at data addresses with their formats. Raises DataError where one holds rows of another kind."""
    tables = [(table, format_of(table.rows[0], judged=kind == "judged")) for table in read_tables(where)]
    others = [(table, known) for table, known in tables if not _fits(known.kind, kind)]
    if len({known.kind for _, known in tables}) > 1 and others:
        raise DataError(Place(str(where)), say_kinds([(table.name, known.kind) for table, known in tables]))
    if others:
        raise _misfit(*others[0], kind)
    return tables


def _fits(held: Kind, wanted: Kind) -> bool:
    return held == wanted or (wanted == "prompts" and held == "conversations")


def objectives_of(kinds: Iterable[Kind]) -> tuple[str, ...]:
    """The objectives that can learn rows of all these kinds; none where no one can."""
    distinct = set(kinds)
    if len(distinct) == 1:
        return OBJECTIVES[distinct.pop()]
    return OBJECTIVES["prompts"] if all(_fits(kind, "prompts") for kind in distinct) else ()


def say_kinds(files: Sequence[tuple[str, Kind]]) -> str:
    """That files hold rows of several kinds, and what to do."""
    named: dict[Kind, list[str]] = {}
    for name, kind in files:
        named.setdefault(kind, []).append(name)
    listed = "; ".join(
        f"{_HOLDS[kind]}, for --objective {_either(OBJECTIVES[kind])}: {', '.join(names)}"
        for kind, names in named.items()
    )
    kind, names = next(iter(named.items()))
    only = " ".join(f"--data {name}" for name in names)
    return (
        f"rows of several kinds, which no objective learns together ({listed}); name the files of one, such as "
        f"--objective {OBJECTIVES[kind][0]} {only}"
    )


def _misfit(table: Table, known: Format, kind: Kind) -> DataError:
    return DataError(
        Path(table.name),
        f"holds {_HOLDS[known.kind]} ({known.name} format), which fit --objective "
        f"{_either(OBJECTIVES[known.kind])}; --objective {_either(OBJECTIVES[kind])} needs {_HOLDS[kind]}",
    )


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _built(table: Table, known: Format, prompt: PromptSettings | None, broken: OnBroken) -> Part:
    rows: list[Built] = []
    for row in table.rows:
        try:
            built = known.build(row, prompt or PromptSettings())
        except DataError as error:
            broken(error)
        except RecursionError:
            broken(DataError(row.place, TOO_DEEP))
        else:
            unread = () if known.kind == "prompts" else row.unread()  # a reward may read them all
            rows.append(replace(built, unread=unread) if unread else built)
    return Part(table.name, known, tuple(rows))
