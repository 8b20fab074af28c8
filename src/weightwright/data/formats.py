"""Rows of a data file as something to learn from: conversations, preference pairs, judged answers, or plain texts.

A file's first row decides which format it is in, or `dataset_info.json` says it. A row that does not fit is refused
with its file, its line and the field that was expected: nothing is skipped in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from weightwright.data.build import Format, format_of, prompt_of
from weightwright.data.catalogue import Table, read_tables
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
from weightwright.errors import DataError

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


def read_samples(path: Path, prompt: PromptSettings | None = None) -> list[Sample]:
    """All rows at a data address as conversations; `prompt` gives grounded rows their instructions.

    Raises DataError naming file, line and field, or the objective that the file fits where it holds something else.
    """
    return _read(path, prompt, "conversations", Sample)


def read_pairs(path: Path, prompt: PromptSettings | None = None) -> list[Pair]:
    """All rows at a data address as preference pairs. Raises DataError as `read_samples` does."""
    return _read(path, prompt, "pairs", Pair)


def read_judged(path: Path, prompt: PromptSettings | None = None) -> list[Judged]:
    """All rows at a data address as judged answers. Raises DataError as `read_samples` does."""
    return _read(path, prompt, "judged", Judged)


def read_texts(path: Path) -> list[Text]:
    """All rows at a data address as texts. Raises DataError as `read_samples` does."""
    return _read(path, None, "texts", Text)


def read_prompts(path: Path, prompt: PromptSettings | None = None) -> list[Prompt]:
    """All rows at a data address as prompts to be answered; of conversations the last answer is left out.

    Raises DataError as `read_samples` does.
    """
    found: list[Prompt] = []
    for table in read_tables(path):
        known = format_of(table.rows[0])
        if known.kind not in ("prompts", "conversations"):
            raise _misfit(table, known, "prompts")
        found += [prompt_of(row, known.build(row, prompt or PromptSettings())) for row in table.rows]
    return found


def read_parts(path: Path, prompt: PromptSettings | None = None, broken: OnBroken = stop) -> list[Part]:
    """What stands at a data address, whatever it is; rows that cannot be read are handed to `broken`."""
    tables = [table for table in read_tables(path, broken) if table.rows]
    return [_built(table, _format_of(table), prompt, broken) for table in tables]


def _format_of(table: Table) -> Format:
    """The format of rows of which it is not known what they are for; labels that are all 1 or 0 are judgements."""
    return format_of(table.rows[0], judged=all(is_truth(row.values.get("label")) for row in table.rows))


def _read(path: Path, prompt: PromptSettings | None, kind: Kind, wanted: type[B]) -> list[B]:
    matching: list[B] = []
    for table in read_tables(path):
        known = format_of(table.rows[0], judged=kind == "judged")
        if known.kind != kind:
            raise _misfit(table, known, kind)
        rows = _built(table, known, prompt, stop).rows
        matching += [row for row in rows if isinstance(row, wanted)]
    return matching


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
