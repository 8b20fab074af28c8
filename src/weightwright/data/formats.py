"""Rows of a data file as something to learn from: conversations, preference pairs, judged answers, or plain texts.

A file's first row decides which format it is in, or `dataset_info.json` says it. A row that does not fit is refused
with its file, its line and the field that was expected: nothing is skipped in silence.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from weightwright.data.build import Format, format_of, prompt_of
from weightwright.data.catalogue import Source, Table, tables_at
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

B = TypeVar("B", Sample, Pair, Judged, Text, Prompt)

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
    """The rows of one file or data set, and the format that they are read in; `prompt` is for grounded ones."""

    table: Table
    format: Format
    prompt: PromptSettings

    def read(self, broken: OnBroken = stop) -> Iterator[Built]:
        """The rows, one by one, read anew by each call; those that cannot be read are handed to `broken`."""
        for row in self.table.read(broken):
            try:
                built = self.format.build(row, self.prompt)
            except DataError as error:
                broken(error)
            except RecursionError:
                broken(DataError(row.place, TOO_DEEP))
            else:
                unread = () if self.format.kind == "prompts" else row.unread()  # a reward may read them all
                yield replace(built, unread=unread) if unread else built


def read_rows(where: Path | Source, kind: Kind, prompt: PromptSettings | None = None) -> Iterator[Built]:
    """All rows at data addresses as rows of a kind, one by one; `prompt` gives grounded rows their instructions.

    Of conversations that are asked for as prompts the last answer is left out. Raises DataError naming file, line and
    field, or the objective that the file fits where it holds something else.
    """
    for table, known in _fitting(where, kind):
        part = Part(table, known, prompt or PromptSettings())
        if kind != "prompts":
            yield from part.read()
        else:
            yield from (prompt_of(row, known.build(row, part.prompt)) for row in table.read())


def read_samples(where: Path | Source, prompt: PromptSettings | None = None) -> list[Sample]:
    """All rows at a data address as conversations; `prompt` gives grounded rows their instructions.

    Raises DataError naming file, line and field, or the objective that the file fits where it holds something else.
    """
    return _of_type(Sample, read_rows(where, "conversations", prompt))


def read_pairs(where: Path | Source, prompt: PromptSettings | None = None) -> list[Pair]:
    """All rows at a data address as preference pairs. Raises DataError as `read_samples` does."""
    return _of_type(Pair, read_rows(where, "pairs", prompt))


def read_judged(where: Path | Source, prompt: PromptSettings | None = None) -> list[Judged]:
    """All rows at a data address as judged answers. Raises DataError as `read_samples` does."""
    return _of_type(Judged, read_rows(where, "judged", prompt))


def read_texts(where: Path | Source) -> list[Text]:
    """All rows at a data address as texts. Raises DataError as `read_samples` does."""
    return _of_type(Text, read_rows(where, "texts"))


def read_prompts(where: Path | Source, prompt: PromptSettings | None = None) -> list[Prompt]:
    """All rows at a data address as prompts to be answered. Raises DataError as `read_samples` does."""
    return _of_type(Prompt, read_rows(where, "prompts", prompt))


def read_parts(
    where: Path | Source, prompt: PromptSettings | None = None, broken: OnBroken = stop
) -> list[Part]:
    """The files at data addresses, whatever they hold, but for those of no known format, which are `broken`."""
    parts = []
    for table in tables_at(where):
        try:
            known = _format_of(table, broken)
        except DataError as error:
            broken(error)
            known = None
        if known is not None:
            parts.append(Part(table, known, prompt or PromptSettings()))
    return parts


def _format_of(table: Table, broken: OnBroken) -> Format | None:
    """The format of rows of which it is not known what they are for; labels that are all 1 or 0 are judgements.

    None where no row can be read, which is `broken`. Raises DataError where no format is like them.
    """
    errors: list[DataError] = []
    first = next(table.read(errors.append), None)
    if first is None:
        for error in errors:
            broken(error)
        return None
    judged = is_truth(first.values.get("label")) and all(
        is_truth(row.values.get("label")) for row in table.read(lambda _: None)
    )
    return format_of(first, judged=judged)


def _of_type(wanted: type[B], rows: Iterable[Built]) -> list[B]:
    return [row for row in rows if isinstance(row, wanted)]


def _fitting(where: Path | Source, kind: Kind) -> list[tuple[Table, Format]]:
    """The tables at data addresses with their formats. Raises DataError where one holds rows of another kind."""
    tables = [(table, format_of(next(table.read()), judged=kind == "judged")) for table in tables_at(where)]
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
