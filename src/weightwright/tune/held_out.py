"""The loss of every held-out row before the first step and at the last evaluation: held_out.jsonl of a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from weightwright.data.kinds import kinds_of
from weightwright.files import write_whole
from weightwright.ports import Embedder
from weightwright.tune.batch import Example

FILE = "held_out.jsonl"
_SHOWN = 80  # characters of a task


@dataclass(frozen=True, slots=True)
class RowLoss:
    """A held-out row: where it stands, what it weighs in the mean (labelled tokens, or 1), its two losses."""

    place: str
    size: int
    before: float | None  # None: the run began in a version that did not keep it
    after: float
    step: int  # steps done at `after`


def write(
    folder: Path, examples: Sequence[Example], sizes: Sequence[int], losses: Sequence[float], step: int
) -> None:
    """Write the losses after `step` steps; the losses of step 0 are kept."""
    before: Sequence[float | None] = losses
    if step:
        kept = read(folder) if (folder / FILE).is_file() else []
        before = [row.before for row in kept] or [None] * len(losses)
    rows = [
        RowLoss(str(example.rows[0].place), size, first, last, step)
        for example, size, first, last in zip(examples, sizes, before, losses, strict=True)
    ]
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    write_whole(folder / FILE, text.encode())


def read(folder: Path) -> list[RowLoss]:
    """The rows of the last evaluation, in the order of their file."""
    lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    return [RowLoss(**json.loads(line)) for line in lines]


@dataclass(frozen=True, slots=True)
class KindLoss:
    """Held-out rows of one kind of task: one of them, how many, and their losses before and after."""

    example: str
    rows: int
    before: float | None
    after: float


def by_kind(found: Sequence[RowLoss], tasks: Mapping[str, str], embedder: Embedder) -> list[KindLoss]:
    """Losses by kind of task, largest kind first; `tasks` has what each place asks for.

    Rows that `tasks` does not know, such as pieces of a text, are left out, and so are stray kinds (see `kinds_of`).
    """
    rows = [row for row in found if row.place in tasks]
    if not rows:
        return []
    asked = [tasks[row.place] for row in rows]
    kinds = kinds_of(asked, embedder)
    told = []
    for middle, numbers in zip(kinds.middles, kinds.members, strict=True):
        members = [rows[n] for n in numbers]
        known = [row.before for row in members if row.before is not None]
        before = _mean(members, known) if len(known) == len(members) else None
        after = _mean(members, [row.after for row in members])
        told.append(KindLoss(" ".join(asked[middle].split())[:_SHOWN], len(members), before, after))
    return told


def _mean(rows: Sequence[RowLoss], losses: Sequence[float]) -> float:
    """The mean of rows' losses, weighted by their sizes."""
    whole = sum(row.size * loss for row, loss in zip(rows, losses, strict=True))
    return whole / sum(row.size for row in rows)
