"""From a data file to the examples of a run: read by objective, encoded, held to the length limit."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.data.catalogue import Source, left_out, named_splits, picked
from weightwright.data.checks import Problem, say_unread, unfilled
from weightwright.data.folder import say_left_out, split_of
from weightwright.data.formats import read_rows
from weightwright.data.sample import Sample
from weightwright.data.template import Encoded, encode, encode_prompt, encode_text
from weightwright.errors import DataError, TuneError
from weightwright.ports import Tokenizer
from weightwright.tune.batch import Example
from weightwright.tune.examples import Examples
from weightwright.tune.objectives import OBJECTIVES
from weightwright.tune.settings import TuneSettings
from weightwright.tune.within import Within

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded


class Rows:
    """The rows of a run as its objective needs them: read anew each time they are gone through, and none is held.

    Raises DataError for a row that cannot be read, and for a file of another kind.
    """

    def __init__(self, settings: TuneSettings, file: Source) -> None:
        self._files: list[tuple[Source, list[int] | None]] = []
        self._settings = settings
        self.count = 0
        self.last: Any = None
        self.unread: Counter[str] = Counter()
        self.by_file: Counter[str] = Counter()
        self.placeholders = 0
        self.placeholder: Problem | None = None  # the first
        self._read_once(file, None)
        if settings.objective == "kto" and self.count < 2:
            raise DataError(
                str(file), "has one row; objective=kto compares each with another row's answer: give more"
            )

    def mix_in(self, file: Source, share: float, seed: int) -> str:
        """Put rows of another file behind these, so that they are a share of all; what the user should know of it."""
        known = sum(1 for _ in read(self._settings, file))
        wanted = round(self.count * share / (1 - share))
        drawn = sorted(random.Random(seed).sample(range(known), min(wanted, known)))
        note = f"{file}: {len(drawn)} of {known} rows mixed in"
        if len(drawn) < wanted:
            real = len(drawn) / (self.count + len(drawn))
            note += f", {real:.1%} of all, where {share:.1%} were asked for"
        self._read_once(file, drawn)
        return note

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return (row for file, drawn in self._files for row in self._rows(file, drawn))

    def _rows(self, file: Source, drawn: list[int] | None) -> Iterator[Any]:
        rows = read(self._settings, file)
        return rows if drawn is None else picked(rows, drawn)

    def _read_once(self, file: Source, drawn: list[int] | None) -> None:
        """Note what is to be said of all rows, and their number."""
        self._files.append((file, drawn))
        for row in self._rows(file, drawn):
            self.count, self.last = self.count + 1, row
            self.by_file[row.place.file] += 1
            self.unread.update(row.unread)
            if self._settings.objective != "pretrain" and (problem := unfilled(row)):
                self.placeholders, self.placeholder = self.placeholders + 1, self.placeholder or problem


def learnt(settings: TuneSettings) -> Source:
    """Where the rows to learn from are."""
    return Source(settings.data)


def held_out(settings: TuneSettings) -> Source | None:
    """Where the rows held out are; None where there are none."""
    return None if settings.eval_data is None else Source(settings.eval_data, held_out=True)


def read(settings: TuneSettings, file: Source) -> Iterator[Any]:
    """The rows of files as the objective needs them, one by one. Raises as `Rows` does."""
    return read_rows(file, OBJECTIVES[settings.objective].rows, settings.prompt)


def to_learn(settings: TuneSettings) -> tuple[Rows, tuple[str, ...]]:
    """The rows of `data` with those of `mix_data` that the share asks for, and what the user should know of them."""
    rows = Rows(settings, learnt(settings))
    notes = tuple(_about_files(rows, learnt(settings)))
    if settings.mix_data is None:
        return rows, notes
    return rows, (*notes, rows.mix_in(Source(settings.mix_data), settings.mix_share, settings.seed))


def _about_files(rows: Rows, source: Source) -> Iterator[str]:
    """Which files the rows are from, where there are several, and which are left out."""
    if len(rows.by_file) > 1:
        yield f"{len(rows)} rows: " + ", ".join(f"{file} {count}" for file, count in rows.by_file.items())
    for file in named_splits(source):
        yield f"{file} calls itself a {split_of(Path(file.name))} split, and is learnt from, as it was named"
    yield from say_left_out(left_out(source))


def to_examples(
    rows: Rows, loaded: "Loaded", settings: TuneSettings, file: Source
) -> tuple[Examples, tuple[str, ...]]:
    """Rows as tokens within the length limit, and what the user should know of them.

    Raises TuneError where a row has nothing to learn, or none is left, DataError for rows that are too long.
    """
    limit = min(settings.max_length, loaded.context_tokens)
    if OBJECTIVES[settings.objective].samples:
        return _prompts(rows, loaded, settings, file, limit)
    within = Within(limit, settings)
    kept = Examples(within.kept(encoded(rows, loaded.tokenizer, settings)), beside(settings.out))
    within.check()
    if not kept:
        raise TuneError(f"no row of {file} is left within {limit} tokens; raise --max-length")
    return kept, tuple(f"{file}: {note}" for note in (*within.notes, *_about(rows)))


def beside(out: Path) -> Path:
    """The folder that is there for a run's temporary files: its own, or the nearest above it."""
    return next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())


def _about(rows: Rows) -> Iterator[str]:
    """What the user should know of the rows as they stand in their file."""
    if rows.unread:
        yield say_unread(dict(rows.unread.most_common()))
    if rows.placeholder:
        yield (
            f"{rows.placeholders} of {len(rows)} rows answer with a placeholder "
            f"({rows.placeholder.problem}), which the model learns to say; put what it stands for in its place"
        )


def _prompts(
    rows: Rows, loaded: "Loaded", settings: TuneSettings, file: Source, limit: int
) -> tuple[Examples, tuple[str, ...]]:
    """Prompts that leave room for an answer within `limit` tokens; longer ones are refused, or dropped."""
    room = limit - settings.grpo.max_completion
    if room < 1:
        raise TuneError(
            f"max_completion={settings.grpo.max_completion} leaves no room for a prompt within {limit} tokens; "
            "lower it, or raise --max-length"
        )
    if settings.too_long not in ("error", "drop"):
        raise TuneError(f"too_long={settings.too_long} cuts prompts, which cannot be answered then; use drop")
    longest: Encoded | None = None

    def short() -> Iterator[Example]:
        nonlocal longest
        for row in rows:
            prompt = encode_prompt(row, loaded.tokenizer)
            longest = prompt if longest is None else max(longest, prompt, key=len)
            if len(prompt) <= room:
                yield Example((prompt,), prompt=row)

    kept = Examples(short(), beside(settings.out))
    if len(kept) == len(rows):
        return kept, ()
    said = f"{len(rows) - len(kept)} of {len(rows)} prompts are longer than {room} tokens"
    if settings.too_long == "error" or not kept:
        assert longest is not None
        raise DataError(
            str(file),
            f"{said} (the longest, {longest.place}, has {len(longest)}), which max_length={limit} leaves beside "
            f"max_completion={settings.grpo.max_completion}; raise --max-length, lower --max-completion, or choose "
            "--too-long drop",
        )
    return kept, (f"{file}: {said}, and were dropped",)


def encoded(rows: Rows, tokenizer: Tokenizer, settings: TuneSettings) -> Iterator[Example]:
    """Rows as tokens, however long."""

    def one(sample: Sample, train_on: Any = settings.train_on) -> Encoded:
        return encode(sample, tokenizer, train_on)

    kind = OBJECTIVES[settings.objective].rows
    before = rows.last
    for row in rows:
        if kind == "texts":
            yield Example((encode_text(row.text, row.place, tokenizer),))
        elif kind == "pairs":  # what is compared is the last answer
            yield Example((one(row.chosen, "last"), one(row.rejected, "last")))
        elif kind == "judged":
            mixed = (*row.sample.messages[:-1], before.sample.messages[-1])
            partner = Example((one(replace(row.sample, messages=mixed), "last"),))
            yield Example((one(row.sample, "last"),), row.good, partner=partner)
            before = row
        else:
            yield Example((one(row),))
