"""The outcome of a comparison: scores, costs and verdict from the kept answers. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightwright.compare.arms import Arm
from weightwright.compare.questions import Question
from weightwright.compare.record import Record
from weightwright.compare.settings import CompareSettings
from weightwright.compare.verdict import Contender, Rule, Verdict, decide
from weightwright.judge.copies import Clusters, clusters_of
from weightwright.judge.metrics import score
from weightwright.stats.clusters import Labels
from weightwright.stats.intervals import Interval, mean_interval


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer of an arm costs, over the questions that it answered (none: all None).

    `peak_bytes` is None where it cannot be measured, too (another process, not Linux).
    """

    seconds_per_question: float | None
    latency_s: float | None
    prompt_tokens: float | None
    completion_tokens: float | None
    peak_bytes: int | None
    tuning_s: float | None

    def data(self) -> dict[str, Any]:
        """As JSON; tokens are means per answered question."""
        return {
            "seconds_per_question": self.seconds_per_question,
            "latency_s": self.latency_s,
            "prompt_tokens_per_question": self.prompt_tokens,
            "completion_tokens_per_question": self.completion_tokens,
            "peak_bytes": self.peak_bytes,
            "tuning_s": self.tuning_s,
        }


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm's records and scores, one for each question, their means, and its cost."""

    arm: Arm
    records: tuple[Record, ...]
    scores: tuple[Mapping[str, float], ...]
    means: Mapping[str, Interval]
    by_kind: Mapping[str, Interval]
    cost: Cost

    @property
    def failed(self) -> int:
        """Questions that brought no answer, or an empty one; they score 0."""
        return int((~self.answered).sum())

    @property
    def answered(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which questions were answered [questions]."""
        return np.array([bool(record.answer) for record in self.records])

    def column(self, metric: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """One metric's scores [questions], f64."""
        return np.array([scores[metric] for scores in self.scores], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the table, the report and the JSON show."""

    settings: CompareSettings
    questions: tuple[Question, ...]
    clusters: Clusters
    arms: tuple[ArmResult, ...]
    verdict: Verdict
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a reader should know before believing the numbers."""
        failed = [_failed(result) for result in self.arms if result.failed]
        few = next(iter(self.verdict.means.values())).caution
        told = [*failed, _sentence(self.clusters.caution), _sentence(few)]
        return (*filter(None, told), *self.provenance.get("notes", ()))

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        verdict = self.verdict
        return {
            "arms": [_arm_data(result) for result in self.arms],
            "pairs": [
                {
                    "a": pair.a,
                    "b": pair.b,
                    "metric": verdict.rule.metric,
                    "difference": pair.difference.mean,
                    "low": pair.difference.low,
                    "high": pair.difference.high,
                    "p": pair.p,
                    "p_uncorrected": pair.p_raw,
                    "questions_needed": pair.questions_needed,
                }
                for pair in verdict.pairs
            ],
            "winner": verdict.winner,
            "why": verdict.why,
            "cheapest": verdict.cheapest,
            "equals": list(verdict.equals),
            "questions": len(self.questions),
            "clusters": len(np.unique(self.clusters.labels)),
            "cautions": list(self.cautions),
            "provenance": dict(self.provenance),
        }


def summarise(
    settings: CompareSettings,
    questions: Sequence[Question],
    records: Mapping[Arm, Sequence[Record]],
    *,
    peaks: Mapping[str, int | None],
    tuning_s: float | None,
    provenance: Mapping[str, Any],
) -> Comparison:
    """Score all records (in the order of the questions), and decide."""
    clusters = clusters_of(questions)
    arms = tuple(
        _arm_result(settings, questions, arm, rows, clusters.labels, peaks.get(arm.name), tuning_s)
        for arm, rows in records.items()
    )
    contenders = [
        Contender(
            result.arm.name,
            result.column(settings.primary),
            result.cost.seconds_per_question,
            result.arm.deployable,
            result.answered,
        )
        for result in arms
    ]
    rule = Rule(settings.primary, settings.difference, settings.alpha, settings.seed)
    verdict = decide(contenders, clusters.labels, rule)
    return Comparison(settings, tuple(questions), clusters, arms, verdict, provenance)


def _arm_result(
    settings: CompareSettings,
    questions: Sequence[Question],
    arm: Arm,
    records: Sequence[Record],
    clusters: Labels,
    peak_bytes: int | None,
    tuning_s: float | None,
) -> ArmResult:
    scores = tuple(
        score(
            q.question, r.answer, q.references, settings.metrics, no_answer=settings.answer.prompt.no_answer
        )
        for q, r in zip(questions, records, strict=True)
    )
    means = {
        metric: mean_interval([s[metric] for s in scores], clusters, seed=settings.seed)
        for metric in settings.metrics
    }
    primary = np.array([s[settings.primary] for s in scores])
    kinds = dict.fromkeys(q.kind for q in questions)
    chosen = {kind: np.array([q.kind == kind for q in questions]) for kind in kinds}
    by_kind = {
        kind: mean_interval(primary[where], clusters[where], seed=settings.seed)
        for kind, where in chosen.items()
    }
    cost = _cost([r for r in records if r.answer], peak_bytes, tuning_s if arm.adapter else None)
    return ArmResult(arm, tuple(records), scores, means, by_kind, cost)


def _cost(answered: Sequence[Record], peak_bytes: int | None, tuning_s: float | None) -> Cost:
    """What an answer costs: a failure, which may come at once, makes no arm cheap."""
    if not answered:
        return Cost(None, None, None, None, peak_bytes, tuning_s)
    n = len(answered)
    return Cost(
        seconds_per_question=sum(r.seconds for r in answered) / n,
        latency_s=float(np.median([r.latency_s for r in answered])),
        prompt_tokens=sum(r.prompt_tokens for r in answered) / n,
        completion_tokens=sum(r.completion_tokens for r in answered) / n,
        peak_bytes=peak_bytes,
        tuning_s=tuning_s,
    )


def _failed(result: ArmResult) -> str:
    """How many questions an arm failed on, and the commonest reason."""
    reasons = Counter(r.error or "the answer was empty" for r in result.records if not r.answer)
    [(reason, times)] = reasons.most_common(1)
    which = "Reason" if times == result.failed else f"Reason of {times}"
    score = f"{result.failed} of {len(result.records)} questions failed and score 0"
    return f"{result.arm.name}: {score}. {which}: {reason}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _arm_data(result: ArmResult) -> dict[str, Any]:
    return {
        "name": result.arm.name,
        "scores": {
            metric: {"mean": m.mean, "low": m.low, "high": m.high, "n": m.n}
            for metric, m in result.means.items()
        },
        "cost": result.cost.data(),
        "failed": result.failed,
    }
