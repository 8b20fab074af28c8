"""How likely the base model finds each row, for objectives that compare with it (DPO, KTO).

An adapter begins as nothing, so the model before the first step is the base: one pass over all rows, kept in the
run's folder, and no second model is ever in memory.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from weightwright.files import write_whole
from weightwright.tune.batch import Unit
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import Layout, row_sums
from weightwright.tune.ranks import Alone

FILE = "reference.json"
NEEDED = ("dpo", "kto")


def with_reference(
    parts: Sequence[tuple[Unit, ...]],
    model: VocabularyLoss,
    layout: Layout,
    folder: Path,
    ranks: Alone,
    say: Callable[[str], None],
) -> list[tuple[Unit, ...]]:
    """Each part's units (rows trained on, rows held out) with the sums that were kept, or are made and kept now.

    `say` is told how far that is.
    """
    file = folder / FILE
    sums = ranks.agreed(lambda: json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None)
    if sums is None:
        sums = [_sums(units, model, layout, ranks, say) for units in parts]
        if ranks.first:
            write_whole(file, json.dumps(sums))
    return [
        tuple(_filled(unit, values) for unit, values in zip(units, own, strict=True))
        for units, own in zip(parts, sums, strict=True)
    ]


def _sums(
    units: Sequence[Unit], model: VocabularyLoss, layout: Layout, ranks: Alone, say: Callable[[str], None]
) -> list[list[float]]:
    """Of each unit's rows and then its partner's."""
    flat = [
        Unit((row,)) for unit in units for row in (*unit.rows, *(unit.partner.rows if unit.partner else ()))
    ]
    places = {id(unit): place for place, unit in enumerate(flat)}
    found: list[tuple[int, float]] = []
    all_rows = len(ranks.own(flat))
    for batch in layout(flat):
        numbers = [places[id(unit)] for unit in batch.units]
        found += zip(numbers, row_sums(model, batch), strict=True)
        say(f"the base model has read {len(found):,} of {all_rows:,} rows")
    values = iter([value for _, value in sorted(ranks.gathered(found))])
    return [[next(values) for _ in range(len(unit.rows) + (unit.partner is not None))] for unit in units]


def _filled(unit: Unit, values: Sequence[float]) -> Unit:
    own = len(unit.rows)
    partner = replace(unit.partner, reference=tuple(values[own:])) if unit.partner else None
    return replace(unit, reference=tuple(values[:own]), partner=partner)
