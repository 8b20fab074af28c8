"""The real lengths of a file's rows, for a plan: read and encoded as a run would, with the tokenizer alone."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from weightwright.data.catalogue import left_out
from weightwright.data.folder import say_left_out
from weightwright.data.pack import fit
from weightwright.errors import TuneError
from weightwright.plan.layout import Rows
from weightwright.plan.settings import PlanSettings
from weightwright.tune import dataset, prefixes
from weightwright.tune.batch import Example
from weightwright.tune.examples import Examples
from weightwright.tune.settings import TuneSettings
from weightwright.weights.load import load_tokenizer

_LOOKED_AT = 64  # rows, for what all begin with


class _Lengths(Sequence[tuple[int, ...]]):
    """Lengths of the rows of each example [examples, rows of each], as tuples when they are asked for."""

    def __init__(self, lengths: NDArray[np.int32]) -> None:
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, number: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, number: slice) -> "_Lengths": ...
    def __getitem__(self, number: int | slice) -> "tuple[int, ...] | _Lengths":
        found = self._lengths[number]
        return _Lengths(found) if isinstance(number, slice) else tuple(found.tolist())


def rows_of(examples: Examples) -> Rows:
    """Their lengths, how many of their tokens carry loss, and with how many all begin."""
    common = prefixes.common_tokens([row for n in _spread(len(examples)) for row in examples[n].rows])
    return Rows(_Lengths(examples.lengths.astype(np.int32)), examples.labelled_tokens, common)


def _spread(count: int) -> range:
    """Numbers of some of them, evenly over all."""
    return range(0, count, max(1, count // _LOOKED_AT))


def planned_rows(settings: PlanSettings) -> tuple[Rows | None, Rows | None, tuple[str, ...]]:
    """Rows and held-out rows of a plan that names files, and what the user should know of them.

    Longer rows than `max_length` count as cut there. Raises DataError for rows, TuneError where none is left,
    ModelError without a tokenizer.
    """
    if settings.data is None:
        return None, None, ()
    asked = TuneSettings(
        model=settings.model,
        data=settings.data,
        eval_data=settings.eval_data,
        out=Path(),
        objective=settings.objective,
        train_on=settings.train_on,
    )
    files = [file for file in (dataset.learnt(asked), dataset.held_out(asked)) if file is not None]
    samples = [dataset.Rows(asked, file) for file in files]
    model = Path(settings.model)
    tokenizer = load_tokenizer(str(model.parent.absolute()) if model.suffix == ".json" else settings.model)
    kept: list[Rows] = []
    notes = tuple(say_left_out(left_out(dataset.learnt(asked))))
    for file, rows in zip(files, samples, strict=True):
        cut = _Cut(settings.max_length)
        examples = Examples(cut.kept(dataset.encoded(rows, tokenizer, asked)))
        if not examples:
            raise TuneError(
                f"no row of {file} is left within {settings.max_length} tokens; raise --max-length"
            )
        kept.append(rows_of(examples))
        if cut.longer:
            notes += (
                f"{file}: {cut.longer} rows are longer than {settings.max_length} tokens and counted as cut there, "
                "which tune does with --too-long truncate only",
            )
    return kept[0], kept[1] if len(kept) > 1 else None, notes


class _Cut:
    """Examples cut at `limit` tokens, those with nothing to learn left taken out; `longer` rows were cut."""

    def __init__(self, limit: int) -> None:
        self._limit, self.longer = limit, 0

    def kept(self, examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            self.longer += sum(len(row) > self._limit for row in example.rows)
            rows = fit(example.rows, self._limit, "truncate").rows
            if len(rows) == len(example.rows):
                yield Example(rows)
