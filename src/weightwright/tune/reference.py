"""Log-probabilities of each row under the base model, for objectives that compare with it (DPO, KTO).

A new adapter changes nothing, so the model before the first step is the base. One pass over all rows computes them;
they are kept in the run's folder, and no second model is ever in memory.
"""

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from weightwright.files import write_whole
from weightwright.tune.batch import Example
from weightwright.tune.examples import Examples
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import Layout, row_sums
from weightwright.tune.ranks import SingleProcess

FILE = "reference.json"
_TOGETHER = 1024  # rows laid into passes together


def with_reference(
    parts: Sequence[Examples],
    model: VocabularyLoss,
    layout: Layout,
    folder: Path,
    ranks: SingleProcess,
    say: Callable[[str], None],
) -> list[Examples]:
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
        examples.with_references(np.array([*chain.from_iterable(own)]))
        for examples, own in zip(parts, sums, strict=True)
    ]


def _sums(
    examples: Examples,
    model: VocabularyLoss,
    layout: Layout,
    ranks: SingleProcess,
    say: Callable[[str], None],
) -> list[list[float]]:
    """Of each example's rows and then its partner's."""
    sums: list[float] = []
    for start in range(0, examples.row_count, _TOGETHER):
        flat = [Example((row,)) for row in examples.rows(start, start + _TOGETHER)]
        places = {id(example): place for place, example in enumerate(flat)}
        found: list[tuple[int, float]] = []
        for batch in layout(flat):
            found += zip([places[id(one)] for one in batch.examples], row_sums(model, batch), strict=True)
        sums += [value for _, value in sorted(ranks.all_gather(found))]
        say(f"the base model has read {len(sums):,} of {examples.row_count:,} rows")
    return [sums[start:end] for start, end in examples.spans()]
