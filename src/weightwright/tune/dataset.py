"""From a data file to the examples of a run: read by objective, encoded, held to the length limit."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.data import formats
from weightwright.data.catalogue import Source, left_out, named_splits
from weightwright.data.checks import say_unread, unfilled, unread
from weightwright.data.folder import say_left_out, split_of
from weightwright.data.formats import Prompt, Sample
from weightwright.data.pack import fit
from weightwright.data.template import Encoded, encode, encode_prompt, encode_text
from weightwright.errors import DataError, TuneError
from weightwright.ports import Tokenizer
from weightwright.tune.batch import Example
from weightwright.tune.objectives import OBJECTIVES
from weightwright.tune.settings import TuneSettings

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded


def learnt(settings: TuneSettings) -> Source:
    """Where the rows to learn from are."""
    return Source(settings.data)


def held_out(settings: TuneSettings) -> Source | None:
    """Where the rows held out are; None where there are none."""
    return None if settings.eval_data is None else Source(settings.eval_data, held_out=True)


def read(settings: TuneSettings, file: Source) -> list[Any]:
    """All rows of files as the objective needs them. Raises DataError, also for a file of another kind."""
    kind = OBJECTIVES[settings.objective].rows
    if kind == "pairs":
        return list(formats.read_pairs(file, settings.prompt))
    if kind == "judged":
        judged = formats.read_judged(file, settings.prompt)
        if len(judged) < 2:
            raise DataError(
                str(file), "has one row; objective=kto compares each with another row's answer: give more"
            )
        return list(judged)
    if kind == "texts":
        return list(formats.read_texts(file))
    if kind == "prompts":
        return list(formats.read_prompts(file, settings.prompt))
    return list(formats.read_samples(file, settings.prompt))


def to_learn(settings: TuneSettings) -> tuple[list[Any], tuple[str, ...]]:
    """The rows of `data` with those of `mix_data` that the share asks for, and what the user should know of them."""
    rows = read(settings, learnt(settings))
    notes = tuple(_about_files(rows, learnt(settings)))
    if settings.mix_data is None:
        return rows, notes
    mixed = Source(settings.mix_data)
    general = read(settings, mixed)
    wanted = round(len(rows) * settings.mix_share / (1 - settings.mix_share))
    drawn = sorted(random.Random(settings.seed).sample(range(len(general)), min(wanted, len(general))))
    note = f"{mixed}: {len(drawn)} of {len(general)} rows mixed in"
    if len(drawn) < wanted:
        note += f", {len(drawn) / (len(rows) + len(drawn)):.1%} of all, where {settings.mix_share:.1%} were asked for"
    return [*rows, *(general[n] for n in drawn)], (*notes, note)


def _about_files(rows: Sequence[Any], source: Source) -> Iterator[str]:
    """Which files the rows are from, where there are several, and which are left out."""
    counts = Counter(row.place.file for row in rows)
    if len(counts) > 1:
        yield f"{len(rows)} rows: " + ", ".join(f"{file} {count}" for file, count in counts.items())
    for file in named_splits(source):
        yield f"{file} calls itself a {split_of(Path(file.name))} split, and is learnt from, as it was named"
    yield from say_left_out(left_out(source))


def to_examples(
    rows: Sequence[Any], loaded: "Loaded", settings: TuneSettings, file: Source
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Rows of `read` as tokens within the length limit, and what the user should know of them.

    Raises TuneError where a row has nothing to learn, or none is left, DataError for rows that are too long.
    """
    limit = min(settings.max_length, loaded.context_tokens)
    if OBJECTIVES[settings.objective].samples:
        return _prompts(rows, loaded, settings, file, limit)
    examples = encoded(rows, loaded.tokenizer, settings)
    bare = [example.rows[0] for example in examples if not all(row.labelled_tokens for row in example.rows)]
    if bare:
        raise TuneError(
            f"{len(bare)} of {len(examples)} rows have no labelled token, the first is {bare[0].place}; "
            "each row needs an answer to learn, see: weightwright data show"
        )
    kept, counts = _within(examples, limit, settings)
    kept, equal = _told_apart(kept)
    if not kept:
        raise TuneError(f"no row of {file} is left within {limit} tokens; raise --max-length")
    total = len(examples)
    notes = [f"{n} of {total} rows {what} at {limit} tokens" for what, n in counts.items() if n]
    if equal:
        notes.append(
            f"{equal} of {total} pairs dropped, whose answers are the same within {limit} tokens: "
            "nothing would be learnt; raise --max-length"
        )
    return kept, tuple(f"{file}: {note}" for note in (*notes, *_about(rows, settings)))


def _about(rows: Sequence[Any], settings: TuneSettings) -> Iterator[str]:
    """What the user should know of the rows as they stand in their file."""
    if fields := unread(rows):
        yield say_unread(fields)
    if settings.objective != "pretrain" and (placeholders := unfilled(rows)):
        yield (
            f"{len(placeholders)} of {len(rows)} rows answer with a placeholder ({placeholders[0].problem}), "
            "which the model learns to say; put what it stands for in its place"
        )


def _prompts(
    rows: Sequence[Prompt], loaded: "Loaded", settings: TuneSettings, file: Source, limit: int
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Prompts that leave room for an answer within `limit` tokens; longer ones are refused, or dropped."""
    room = limit - settings.grpo.max_completion
    if room < 1:
        raise TuneError(
            f"max_completion={settings.grpo.max_completion} leaves no room for a prompt within {limit} tokens; "
            "lower it, or raise --max-length"
        )
    if settings.too_long not in ("error", "drop"):
        raise TuneError(f"too_long={settings.too_long} cuts prompts, which cannot be answered then; use drop")
    examples = tuple(Example((encode_prompt(row, loaded.tokenizer),), prompt=row) for row in rows)
    kept = tuple(example for example in examples if len(example.rows[0]) <= room)
    if len(kept) == len(examples):
        return kept, ()
    said = f"{len(examples) - len(kept)} of {len(examples)} prompts are longer than {room} tokens"
    if settings.too_long == "error" or not kept:
        longest = max((example.rows[0] for example in examples), key=len)
        raise DataError(
            str(file),
            f"{said} (the longest, {longest.place}, has {len(longest)}), which max_length={limit} leaves beside "
            f"max_completion={settings.grpo.max_completion}; raise --max-length, lower --max-completion, or choose "
            "--too-long drop",
        )
    return kept, (f"{file}: {said}, and were dropped",)


def encoded(rows: Sequence[Any], tokenizer: Tokenizer, settings: TuneSettings) -> list[Example]:
    """Rows of `read` as tokens, however long."""

    def one(sample: Sample, train_on: Any = settings.train_on) -> Encoded:
        return encode(sample, tokenizer, train_on)

    kind = OBJECTIVES[settings.objective].rows
    if kind == "texts":
        return [Example((encode_text(row.text, row.place, tokenizer),)) for row in rows]
    if kind == "pairs":  # what is compared is the last answer
        return [Example((one(pair.chosen, "last"), one(pair.rejected, "last"))) for pair in rows]
    if kind == "judged":
        examples = []
        for at, row in enumerate(rows):
            mixed = (*row.sample.messages[:-1], rows[at - 1].sample.messages[-1])
            partner = Example((one(replace(row.sample, messages=mixed), "last"),))
            examples.append(Example((one(row.sample, "last"),), row.good, partner=partner))
        return examples
    return [Example((one(row),)) for row in rows]


def _within(
    examples: Sequence[Example], limit: int, settings: TuneSettings
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """The examples that keep to the limit, and how many were dropped, cut or split."""
    if settings.too_long == "error":
        fit([row for example in examples for row in example.rows], limit, "error")
        return tuple(_short_partner(example, limit) for example in examples), {}
    if settings.too_long == "split" and settings.objective not in ("sft", "pretrain"):
        raise TuneError(
            f"too_long=split cuts rows into pieces, which objective={settings.objective} cannot compare; "
            "use drop or truncate"
        )
    kept: list[Example] = []
    counts = {"dropped": 0, "cut": 0, "split": 0}
    for example in examples:
        fitted = fit(example.rows, limit, settings.too_long)
        if settings.too_long == "split":
            kept += [Example((row,)) for row in fitted.rows]
            counts["split"] += fitted.split
            counts["dropped"] += fitted.dropped
        elif len(fitted.rows) < len(example.rows):
            counts["dropped"] += 1
        else:
            kept.append(_short_partner(replace(example, rows=fitted.rows), limit))
            counts["cut"] += bool(fitted.truncated)
    return tuple(kept), counts


def _told_apart(examples: Sequence[Example]) -> tuple[tuple[Example, ...], int]:
    """The examples without pairs of equal rows, which have a constant loss of ln 2 (DPO) and no gradient, counted."""
    kept = tuple(
        one for one in examples if len(one.rows) < 2 or one.rows[0].token_ids != one.rows[1].token_ids
    )
    return kept, len(examples) - len(kept)


def _short_partner(example: Example, limit: int) -> Example:
    """The example with its partner cut at the limit, without one where nothing labelled is left of it."""
    if example.partner is None:
        return example
    rows = fit(example.partner.rows, limit, "truncate").rows
    return replace(example, partner=Example(rows) if rows else None)
