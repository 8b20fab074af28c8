"""Log-probabilities of each row under the base model, for objectives that compare with it (DPO, KTO).

A new adapter changes nothing, so the model before the first step is the base. One pass over all rows computes them;
they are kept in the run's folder, and no second model is ever in memory.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from weightwright.files import write_whole
from weightwright.tune.batch import Example
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import Layout, row_sums
from weightwright.tune.ranks import SingleProcess

FILE = "reference.json"


def with_reference(
    parts: Sequence[tuple[Example, ...]],
    model: VocabularyLoss,
    layout: Layout,
    folder: Path,
    ranks: SingleProcess,
    say: Callable[[str], None],
) -> list[tuple[Example, ...]]:
    """Each part's examples (rows trained on, rows held out) with the sums that were kept, or are made and kept now.

    `say` is told how far that is.
    """
    file = folder / FILE
    sums = ranks.broadcast(lambda: json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None)
    if sums is None:
        sums = [_sums(examples, model, layout, ranks, say) for examples in parts]
        if ranks.is_first:
            write_whole(file, json.dumps(sums))
    return [
        tuple(_filled(example, values) for example, values in zip(examples, own, strict=True))
        for examples, own in zip(parts, sums, strict=True)
    ]


def _sums(
    examples: Sequence[Example],
    model: VocabularyLoss,
    layout: Layout,
    ranks: SingleProcess,
    say: Callable[[str], None],
) -> list[list[float]]:
    """Of each example's rows and then its partner's."""
    flat = [
        Example((row,))
        for example in examples
        for row in (*example.rows, *(example.partner.rows if example.partner else ()))
    ]
    places = {id(example): place for place, example in enumerate(flat)}
    sums: list[tuple[int, float]] = []
    all_rows = len(ranks.share_of(flat))
    for batch in layout(flat):
        numbers = [places[id(example)] for example in batch.examples]
        sums += zip(numbers, row_sums(model, batch), strict=True)
        say(f"the base model has read {len(sums):,} of {all_rows:,} rows")
    values = iter([value for _, value in sorted(ranks.all_gather(sums))])
    return [
        [next(values) for _ in range(len(example.rows) + (example.partner is not None))]
        for example in examples
    ]


def _filled(example: Example, values: Sequence[float]) -> Example:
    own = len(example.rows)
    partner = replace(example.partner, reference=tuple(values[own:])) if example.partner else None
    return replace(example, reference=tuple(values[:own]), partner=partner)
