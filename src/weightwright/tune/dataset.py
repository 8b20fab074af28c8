"""From a data file to the units of a run: read by objective, encoded, held to the length limit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.data import formats
from weightwright.data.checks import unfilled
from weightwright.data.formats import Sample
from weightwright.data.pack import fit
from weightwright.data.template import Encoded, encode, encode_text
from weightwright.errors import DataError, TuneError
from weightwright.tune.batch import Unit
from weightwright.tune.settings import TuneSettings

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

PAIRED = ("dpo", "orpo", "simpo")


def read(settings: TuneSettings, file: Path) -> list[Any]:
    """All rows of a file as the objective needs them. Raises DataError, also for a file of another kind."""
    if settings.objective in PAIRED:
        return list(formats.read_pairs(file, settings.prompt))
    if settings.objective == "kto":
        judged = formats.read_judged(file, settings.prompt)
        if len(judged) < 2:
            raise DataError(
                file, "has one row; objective=kto compares each with another row's answer: give more"
            )
        return list(judged)
    if settings.objective == "pretrain":
        return list(formats.read_texts(file))
    return list(formats.read_samples(file, settings.prompt))


def to_units(
    rows: Sequence[Any], loaded: "Loaded", settings: TuneSettings, file: Path
) -> tuple[tuple[Unit, ...], tuple[str, ...]]:
    """Rows of `read` as tokens within the length limit, and what the user should know of them.

    Raises TuneError where a row has nothing to learn, or none is left, DataError for rows that are too long.
    """
    units = _encoded(rows, loaded.tokenizer, settings)
    bare = [unit.rows[0] for unit in units if not all(row.labelled_tokens for row in unit.rows)]
    if bare:
        raise TuneError(
            f"{len(bare)} of {len(units)} rows have no labelled token, the first is {bare[0].place}; "
            "each row needs an answer to learn, see: weightwright data show"
        )
    limit = min(settings.max_length, loaded.context_tokens)
    kept, counts = _within(units, limit, settings)
    if not kept:
        raise TuneError(f"no row of {file} is left within {limit} tokens; raise --max-length")
    notes = tuple(
        f"{file}: {n} of {len(units)} rows {what} at {limit} tokens" for what, n in counts.items() if n
    )
    if settings.objective != "pretrain" and (found := unfilled(rows)):
        notes += (
            f"{file}: {len(found)} of {len(units)} rows answer with a placeholder ({found[0].problem}), which the "
            "model learns to say; put what it stands for in its place",
        )
    return kept, notes


def _encoded(rows: Sequence[Any], tokenizer: Any, settings: TuneSettings) -> list[Unit]:
    def one(sample: Sample, train_on: Any = settings.train_on) -> Encoded:
        return encode(sample, tokenizer, train_on)

    if settings.objective == "pretrain":
        return [Unit((encode_text(text, place, tokenizer),)) for text, place in rows]
    if settings.objective in PAIRED:  # what is compared is the last answer
        return [Unit((one(pair.chosen, "last"), one(pair.rejected, "last"))) for pair in rows]
    if settings.objective == "kto":
        found = []
        for at, row in enumerate(rows):
            mixed = (*row.sample.messages[:-1], rows[at - 1].sample.messages[-1])
            partner = Unit((one(replace(row.sample, messages=mixed), "last"),))
            found.append(Unit((one(row.sample, "last"),), row.good, partner=partner))
        return found
    return [Unit((one(row),)) for row in rows]


def _within(
    units: Sequence[Unit], limit: int, settings: TuneSettings
) -> tuple[tuple[Unit, ...], dict[str, int]]:
    """The units that keep to the limit, and how many were dropped, cut or split."""
    if settings.too_long == "error":
        fit([row for unit in units for row in unit.rows], limit, "error")
        return tuple(_short_partner(unit, limit) for unit in units), {}
    if settings.too_long == "split" and settings.objective not in ("sft", "pretrain"):
        raise TuneError(
            f"too_long=split cuts rows into pieces, which objective={settings.objective} cannot compare; "
            "use drop or truncate"
        )
    kept, counts = [], {"dropped": 0, "cut": 0, "split": 0}
    for unit in units:
        fitted = fit(unit.rows, limit, settings.too_long)
        if settings.too_long == "split":
            kept += [Unit((row,)) for row in fitted.rows]
            counts["split"] += fitted.split
            counts["dropped"] += fitted.dropped
        elif len(fitted.rows) < len(unit.rows):
            counts["dropped"] += 1
        else:
            kept.append(_short_partner(replace(unit, rows=fitted.rows), limit))
            counts["cut"] += bool(fitted.truncated)
    return tuple(kept), counts


def _short_partner(unit: Unit, limit: int) -> Unit:
    """The unit with its partner cut at the limit, without one where nothing labelled is left of it."""
    if unit.partner is None:
        return unit
    rows = fit(unit.partner.rows, limit, "truncate").rows
    return replace(unit, partner=Unit(rows) if rows else None)
