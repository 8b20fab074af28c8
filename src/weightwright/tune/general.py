"""What a run makes a model forget: its loss on answers to general questions, before and after (general.jsonl)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from weightwright.data.language import language_of
from weightwright.data.sample import Sample
from weightwright.data.template import encode
from weightwright.errors import DataError, ModelError, Place
from weightwright.ports import Message
from weightwright.stats.intervals import difference_interval
from weightwright.tune.batch import Example

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

FILE = "general.jsonl"
_READ_TEXTS = 200  # of those to learn, to tell their language
_ROSE = 1.02  # a loss that rose by less is not worth a word


@dataclass(frozen=True, slots=True)
class General:
    """Losses per token on answers to `questions` general questions; `low` to `high` holds the change (95%)."""

    questions: int
    before: float
    after: float
    low: float
    high: float

    def data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to do where the loss has risen beyond doubt; none elsewhere."""
        if self.low <= 0 or self.after < self.before * _ROSE:
            return ()
        return (
            f"forgetting: the loss on {self.questions} general questions rose from {self.before:.3f} to "
            f"{self.after:.3f} ({self.low:+.3f} to {self.high:+.3f}); if it is to keep what it could do, mix general "
            "rows in (--mix-data), take fewer epochs, a lower learning rate or a lower rank, in that order",
        )


def examples(loaded: "Loaded", learnt: Iterable[str]) -> tuple[Example, ...]:
    """The questions in English and, where the texts to learn are Chinese, in Chinese; none without a chat template.

    Those that the model has no room for are left out.
    """
    languages = {"en", language_of("\n".join(islice(learnt, _READ_TEXTS)))}
    lines = files(__package__).joinpath(FILE).read_text(encoding="utf-8").splitlines()
    found = []
    for number, row in enumerate(map(json.loads, lines), 1):
        if row["language"] not in languages:
            continue
        messages = tuple(Message(one["role"], one["content"]) for one in row["messages"])
        sample = Sample(messages, (False, True), Place(FILE, number))
        try:
            encoded = encode(sample, loaded.tokenizer, "answers")
        except (ModelError, DataError):  # no chat template, or one that does not show them
            return ()
        if len(encoded) <= loaded.context_tokens and encoded.labelled_tokens:
            found.append(Example((encoded,)))
    return tuple(found)


def compared(found: Sequence[Example], before: Sequence[float], after: Sequence[float]) -> General:
    """The mean of losses per token of each answer [questions], [questions], weighted by its tokens."""
    sizes = [example.rows[0].labelled_tokens for example in found]
    mean = sum(sizes) / len(sizes)
    weighted = [[n * loss / mean for n, loss in zip(sizes, part, strict=True)] for part in (before, after)]
    change = difference_interval(weighted[1], weighted[0])
    means = [sum(part) / len(part) for part in weighted]
    return General(len(found), means[0], means[1], change.low, change.high)
