"""Reference metrics: how far an answer agrees with what was expected.

A metric is a row of a table and a function: after `METRICS["name"] = Metric(function, "what it means")`, settings and
reports know it by its name. `weightwright.testing.metric.MetricContract` is what it must meet.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightwright.config import nearest
from weightwright.data.language import Language, language_of
from weightwright.judge.refusal import is_refusal, without_refusals
from weightwright.judge.words import holds, symbols, words


@dataclass(frozen=True, slots=True)
class Text:
    """An answer or a reference: as it was written, and as the words that are compared."""

    text: str
    words: list[str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One reference metric: `score(said, wanted)` of an answer against one reference, `low` to `high` (agrees)."""

    score: Callable[[Text, Text], float]
    meaning: str
    title: str = ""
    low: float = 0.0
    high: float = 1.0


def exact_match(said: Text, wanted: Text) -> float:
    """1 when both are the same words."""
    return float(said.words == wanted.words != [])


def f1(said: Text, wanted: Text) -> float:
    """Harmonic mean of precision and recall over words counted as often as they stand (SQuAD)."""
    shared = sum((Counter(said.words) & Counter(wanted.words)).values())
    return 2 * shared / (len(said.words) + len(wanted.words)) if shared else 0.0


def contains(said: Text, wanted: Text) -> float:
    """1 when the reference stands in the answer as a run of whole words."""
    return float(holds(said.words, wanted.words))


def answered(said: Text, wanted: Text) -> float:  # noqa: ARG001 - which answer, the other metrics say
    """1: `score` has seen that the answer does not say that the documents do not say."""
    return 1.0


METRICS = {
    "exact_match": Metric(exact_match, "the answer is a reference, word for word", "Exact match"),
    "f1": Metric(f1, "words (English) or characters (Chinese) shared with the nearest reference", "Word F1"),
    "contains": Metric(contains, "a reference stands in the answer", "Contains the reference"),
    "no_answer": Metric(
        answered, "says that the documents do not say exactly when they do not", "Answerability"
    ),
}


def known(names: Any) -> Any:
    """A list of metrics from a list or from `f1,contains`. Raises ValueError with the nearest known name."""
    given = names.split(",") if isinstance(names, str) else names
    if not isinstance(given, list | tuple):
        return names
    flat = [part.strip() for name in given for part in str(name).split(",")]
    for name in flat:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    return tuple(dict.fromkeys(flat))


def score(
    question: str,
    answer: str | None,
    references: Sequence[str],
    metrics: Sequence[str] = tuple(METRICS),
    *,
    no_answer: str = "",
) -> dict[str, float]:
    """Each metric of one answer, the best over the references; a failed (None) or empty answer scores the lowest.

    The question's language decides how texts are cut. Where the reference itself says that the documents
    do not say, an answer is right if it says so too and wrong if not; where the documents do say, an answer
    that denies it and names no reference is wrong: SQuAD 2.0's rule (arXiv 1806.03822), for all metrics.
    """
    table = {name: METRICS[name] for name in metrics}
    if answer is None or not answer.strip():
        return _all(table, agrees=False)
    language = language_of(question)
    wanted = [r for r in references if not is_refusal(r, language, no_answer)]
    denies = is_refusal(answer, language, no_answer)
    if len(wanted) < len(references) and (denies or not wanted):
        return _all(table, agrees=denies)
    if denies:
        rest = without_refusals(answer, language, no_answer)
        denies = not any(contains(*_aligned(rest, reference, language)) for reference in wanted)
    if denies or not wanted:
        return _all(table, agrees=False)
    pairs = [_aligned(answer, reference, language) for reference in wanted]
    return {name: max(metric.score(*pair) for pair in pairs) for name, metric in table.items()}


def _aligned(answer: str, reference: str, language: Language) -> tuple[Text, Text]:
    """Both as the words that are compared: labels where the reference is one (A), signs where it has no words (+)."""
    said, wanted = words(answer, language), words(reference, language)
    if not wanted:
        said, wanted = words(answer, language, labels=True), words(reference, language, labels=True)
    if not wanted:
        said, wanted = symbols(answer), symbols(reference)
    return Text(answer, said), Text(reference, wanted)


def _all(table: Mapping[str, Metric], *, agrees: bool) -> dict[str, float]:
    return {name: metric.high if agrees else metric.low for name, metric in table.items()}
