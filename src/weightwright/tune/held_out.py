"""The loss of every held-out row before the first step and at the last evaluation: held_out.jsonl of a run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from weightwright.files import write_whole
from weightwright.tune.batch import Example

FILE = "held_out.jsonl"


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
