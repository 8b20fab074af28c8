"""Reference metrics: how far an answer agrees with what was expected, each between 0 and 1."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from weightwright.config import nearest
from weightwright.data.language import language_of
from weightwright.judge.words import holds, is_refusal, says_no_answer, words

MEANING = {
    "exact_match": "the answer is a reference, word for word",
    "f1": "words (English) or characters (Chinese) shared with the nearest reference",
    "contains": "a reference stands in the answer",
    "no_answer": "says that the documents do not say exactly when they do not",
}
METRICS = tuple(MEANING)


def known(names: Any) -> Any:
    """A list of metrics from a list or from `f1,contains`. Raises ValueError with the nearest known name."""
    given = names.split(",") if isinstance(names, str) else names
    if not isinstance(given, list | tuple):
        return names
    flat = [part.strip() for name in given for part in str(name).split(",")]
    for name in flat:
        if name not in MEANING:
            raise ValueError(f"unknown metric {name!r}{nearest(name, MEANING)}")
    return tuple(dict.fromkeys(flat))


def score(
    question: str,
    answer: str | None,
    references: Sequence[str],
    metrics: Sequence[str] = METRICS,
    *,
    no_answer: str = "",
) -> dict[str, float]:
    """Each metric of one answer, 0..1, the best over the references; None is a failed answer and scores 0.

    The question's language decides how texts are cut. Where the reference itself says that the documents
    do not say, an answer is right (1) if it says so too and wrong (0) if not; where the documents do
    say, an answer that denies it is wrong: SQuAD 2.0's rule (arXiv 1806.03822), for all metrics.
    """
    if answer is None or not references:
        return dict.fromkeys(metrics, 0.0)
    language = language_of(question)
    said = words(answer, language)
    wanted = [words(reference, language) for reference in references]
    if all(is_refusal(reference, language, no_answer) for reference in references):
        return dict.fromkeys(metrics, float(is_refusal(answer, language, no_answer)))
    if says_no_answer(answer, language, no_answer) or (
        is_refusal(answer, language, no_answer) and not any(holds(said, w) for w in wanted)
    ):
        return dict.fromkeys(metrics, 0.0)
    return {m: 1.0 if m == "no_answer" else max(_COMPARE[m](said, w) for w in wanted) for m in metrics}


def exact_match(said: list[str], wanted: list[str]) -> float:
    """1 when both are the same words."""
    return float(said == wanted)


def f1(said: list[str], wanted: list[str]) -> float:
    """Harmonic mean of precision and recall over words counted as often as they stand (SQuAD)."""
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def contains(said: list[str], wanted: list[str]) -> float:
    """1 when the reference stands in the answer as a run of whole words."""
    return float(holds(said, wanted))


_COMPARE: dict[str, Callable[[list[str], list[str]], float]] = {
    "exact_match": exact_match,
    "f1": f1,
    "contains": contains,
}
