"""The real lengths of a file's rows, for a plan: read and encoded as a run would, with the tokenizer alone."""

from collections.abc import Sequence
from pathlib import Path

from weightwright.data.catalogue import left_out
from weightwright.data.folder import say_left_out
from weightwright.data.pack import fit
from weightwright.errors import TuneError
from weightwright.plan.layout import Rows
from weightwright.plan.settings import PlanSettings
from weightwright.tune.batch import Example
from weightwright.tune.dataset import encoded, held_out, learnt, read
from weightwright.tune.settings import TuneSettings
from weightwright.weights.load import load_tokenizer


def rows_of(examples: Sequence[Example]) -> Rows:
    """Their lengths, and how many of their tokens carry loss."""
    return Rows(
        tuple(tuple(map(len, example.rows)) for example in examples),
        sum(row.labelled_tokens for example in examples for row in example.rows),
    )


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
    files = [file for file in (learnt(asked), held_out(asked)) if file is not None]
    samples = [read(asked, file) for file in files]
    model = Path(settings.model)
    tokenizer = load_tokenizer(str(model.parent.absolute()) if model.suffix == ".json" else settings.model)
    kept: list[Rows] = []
    notes = tuple(say_left_out(left_out(learnt(asked))))
    for file, rows in zip(files, samples, strict=True):
        examples, longer = _cut(encoded(rows, tokenizer, asked), settings.max_length)
        if not examples:
            raise TuneError(
                f"no row of {file} is left within {settings.max_length} tokens; raise --max-length"
            )
        kept.append(rows_of(examples))
        if longer:
            notes += (
                f"{file}: {longer} rows are longer than {settings.max_length} tokens and counted as cut there, which "
                "tune does with --too-long truncate only",
            )
    return kept[0], kept[1] if len(kept) > 1 else None, notes


def _cut(examples: Sequence[Example], limit: int) -> tuple[list[Example], int]:
    """The examples cut at `limit` tokens, and how many rows were longer; those with nothing to learn left are out."""
    longer = sum(len(row) > limit for example in examples for row in example.rows)
    cut = [Example(fit(example.rows, limit, "truncate").rows) for example in examples]
    return [new for new, old in zip(cut, examples, strict=True) if len(new.rows) == len(old.rows)], longer
