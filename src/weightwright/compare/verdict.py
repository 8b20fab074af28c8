"""Who wins? Scores of the same questions in; intervals, corrected p-values and a verdict with reasons out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from weightwright.stats.clusters import Floats, Labels
from weightwright.stats.intervals import Interval, counted, difference_interval, mean_interval
from weightwright.stats.permutation import holm, sign_flip
from weightwright.stats.power import POWER, questions_needed, spread

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Contender:
    """An arm's scores [n] of the primary metric, which questions it answered [n], and what an answer costs.

    A question that it failed on scores 0. `seconds_per_question` is None where it answered none.
    """

    name: str
    scores: Floats
    seconds_per_question: float | None
    deployable: bool = True
    answered: Bools | None = None

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(self.scores.mean())

    @property
    def did_answer(self) -> Bools:
        """Which questions were answered [n]; all, where nothing else was said."""
        return np.ones(len(self.scores), dtype=bool) if self.answered is None else self.answered

    @property
    def failed(self) -> int:
        """How many questions brought no answer."""
        return int((~self.did_answer).sum())

    @property
    def failures(self) -> str:
        """`rag failed on 3 of 8 questions`; empty where it did not."""
        return (
            f"{self.name} failed on {self.failed} of {counted(len(self.scores), 'question')}"
            if self.failed
            else ""
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """How a verdict is reached: one metric, the error that is accepted, the difference that matters."""

    metric: str
    difference: float = 0.1
    alpha: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms: mean of a - b with its interval, and p-values before and after Holm's correction."""

    a: str
    b: str
    difference: Interval
    p_raw: float
    p: float
    questions_needed: int | None

    def shown(self, alpha: float) -> bool:
        """Whether the difference is real at this level."""
        return self.p <= alpha


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome. `winner` is None unless the best arm is shown to beat the second."""

    rule: Rule
    means: Mapping[str, Interval]
    pairs: tuple[Pair, ...]
    winner: str | None
    equals: tuple[str, ...]
    cheapest: str | None
    why: str


def decide(contenders: Sequence[Contender], clusters: Labels, rule: Rule) -> Verdict:
    """The verdict over at least two contenders with scores [n], cluster labels [n].

    All pairs are tested on the one metric, Holm-corrected together. The winner is the best deployable arm if
    it beats the second best one; else the arms not shown to be worse than the best are equals, and the
    cheapest of them is named. An arm that failed everywhere was not measured: it is in no pair. One that failed
    here and there may win in spite of it, but is never an equal, and nobody wins by another's failures.
    """
    means = {c.name: mean_interval(c.scores, clusters, seed=rule.seed) for c in contenders}
    measured = [c for c in contenders if c.did_answer.any()]
    pairs = _pairs(measured, clusters, rule)
    ranked = sorted((c for c in measured if c.deployable), key=lambda c: -c.mean)
    if len(ranked) < 2:
        why = _nothing_to_choose(contenders, ranked, means, pairs, rule)
        return Verdict(rule, means, pairs, None, (), None, _with_failures(why, contenders))
    best, second = ranked[0], ranked[1]
    deciding = pair_of(pairs, best.name, second.name)
    by_failures = [c for c in ranked[1:] if c.failed and not _beats_without_failures(best, c, clusters, rule)]
    if deciding.shown(rule.alpha) and not by_failures:
        why = _with_failures(_won(best, second, deciding, means, pairs, rule), contenders)
        return Verdict(rule, means, pairs, best.name, (best.name,), best.name, why)
    equals = [
        c
        for c in ranked
        if not c.failed and (c is best or not pair_of(pairs, best.name, c.name).shown(rule.alpha))
    ]
    cheapest = min(equals, key=lambda c: c.seconds_per_question or 0.0) if len(equals) > 1 else None
    if deciding.shown(rule.alpha):
        why = _only_by_failures(best, by_failures)
    else:
        why = _not_shown(best, second, deciding, means, len(pairs), rule)
    why = _with_failures(why, contenders) + _which_to_take(equals, cheapest)
    return Verdict(
        rule, means, pairs, None, tuple(c.name for c in equals), cheapest.name if cheapest else None, why
    )


def pair_of(pairs: Sequence[Pair], a: str, b: str) -> Pair:
    """The pair of two arms, in whichever order."""
    return next(p for p in pairs if {p.a, p.b} == {a, b})


def _pairs(contenders: Sequence[Contender], clusters: Labels, rule: Rule) -> tuple[Pair, ...]:
    """All pairs, the better arm first."""
    ranked = sorted(contenders, key=lambda c: -c.mean)
    couples = list(combinations(ranked, 2))
    tests = [sign_flip(a.scores - b.scores, clusters, seed=rule.seed) for a, b in couples]
    corrected = holm([test.p for test in tests])
    planned = rule.alpha / max(
        1, len(couples)
    )  # the strictest of Holm's levels: a promise that holds for any pair
    return tuple(
        Pair(
            a.name,
            b.name,
            difference_interval(a.scores, b.scores, clusters, seed=rule.seed),
            test.p,
            p,
            _needed(a.scores - b.scores, clusters, rule.difference, planned),
        )
        for (a, b), test, p in zip(couples, tests, corrected, strict=True)
    )


def _beats_without_failures(best: Contender, other: Contender, clusters: Labels, rule: Rule) -> bool:
    """Whether the best arm is also shown to be better over the questions that both answered."""
    both = best.did_answer & other.did_answer
    gaps = best.scores[both] - other.scores[both]
    return bool(
        both.any() and gaps.sum() > 0 and sign_flip(gaps, clusters[both], seed=rule.seed).p <= rule.alpha
    )


def _needed(differences: Floats, clusters: Labels, wanted: float, alpha: float) -> int | None:
    """Questions that show the wanted difference; None where the scatter cannot be judged."""
    if len(np.unique(clusters)) < 2 or not differences.any():
        return None
    return questions_needed(spread(differences, clusters), wanted, alpha=alpha)


def _nothing_to_choose(
    contenders: Sequence[Contender],
    ranked: Sequence[Contender],
    means: Mapping[str, Interval],
    pairs: Sequence[Pair],
    rule: Rule,
) -> str:
    """Where fewer than two arms could be put to work: what there is to say instead."""
    if not any(c.did_answer.any() for c in contenders):
        return "Nothing to compare: no arm answered a question."
    if sum(c.deployable for c in contenders) > 1:
        left = f"only {ranked[0].name} ({rule.metric} {ranked[0].mean:.2f})" if ranked else "none"
        return f"Nothing to compare: of the arms that could be put to work, {left} answered questions."
    if not pairs:
        return "Nothing to choose: one arm is left, and nothing to hold it against."
    first = pairs[0]
    return (
        "Nothing to choose: the arms with the right passages given are ceilings. "
        f"{first.a} ({rule.metric} {means[first.a].mean:.2f}) is {first.difference.mean:.2f} above {first.b} "
        f"({means[first.b].mean:.2f}; {_evidence(first, len(pairs))})."
    )


def _with_failures(why: str, contenders: Sequence[Contender]) -> str:
    """The reason with which arms failed, and how often."""
    failures = [c.failures for c in contenders if c.failed]
    if not failures:
        return why
    return f"{why} {'; '.join(failures)}: each failure scores 0."


def _only_by_failures(best: Contender, others: Sequence[Contender]) -> str:
    names = " and ".join(c.name for c in others)
    return (
        f"No winner: {best.name} is ahead of {names} only because {names} failed on some questions; "
        "where both answered, no difference is shown."
    )


def _which_to_take(equals: Sequence[Contender], cheapest: Contender | None) -> str:
    """Which of the equals costs least; empty where there are no two."""
    if cheapest is None:
        return ""
    names = ", ".join(c.name for c in equals)
    return (
        f" Of the arms that cannot be told apart ({names}), {cheapest.name} is the cheapest: "
        f"{cheapest.seconds_per_question:.2g} s a question."
    )


def _won(
    best: Contender,
    second: Contender,
    pair: Pair,
    means: Mapping[str, Interval],
    pairs: Sequence[Pair],
    rule: Rule,
) -> str:
    mean, gap = means[best.name], pair.difference
    return (
        f"{best.name} is best: {rule.metric} {mean.mean:.2f} "
        f"(95% interval {mean.low:.2f} to {mean.high:.2f}), "
        f"{gap.mean:.2f} above {second.name} ({_evidence(pair, len(pairs))})."
    )


def _not_shown(
    best: Contender,
    second: Contender,
    pair: Pair,
    means: Mapping[str, Interval],
    pair_count: int,
    rule: Rule,
) -> str:
    gap = pair.difference
    parts = [
        f"No difference shown between {best.name} ({rule.metric} {means[best.name].mean:.2f}) and "
        f"{second.name} ({means[second.name].mean:.2f}): {gap.mean:.2f} apart "
        f"({_evidence(pair, pair_count)})."
    ]
    if 2.0 ** (1 - gap.clusters) * pair_count > rule.alpha:
        parts.append(f"So few clusters could not show any difference at the level of {rule.alpha:g}.")
    if pair.questions_needed is not None:
        parts.append(
            f"About {pair.questions_needed:,} questions would show a difference of {rule.difference:g} "
            f"with a probability of {POWER:g}."
        )
    return " ".join(parts)


def p_words(p: float) -> str:
    """A p-value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"


def _evidence(pair: Pair, pairs: int) -> str:
    gap = pair.difference
    corrected = f" after Holm's correction over {pairs} pairs" if pairs > 1 else ""
    return (
        f"{gap.low:.2f} to {gap.high:.2f}; {p_words(pair.p)}{corrected}; "
        f"{counted(gap.n, 'question')} in {counted(gap.clusters, 'independent cluster')}"
    )
