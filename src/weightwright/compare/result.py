"""The outcome of a comparison: scores, costs and verdict from the kept answers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightwright.asking.answers import Record
from weightwright.compare.arms import Arm
from weightwright.compare.questions import Question
from weightwright.compare.settings import CompareSettings
from weightwright.compare.verdict import Contender, Rule, Verdict, decide
from weightwright.judge.metrics import score
from weightwright.stats.clusters import Labels, by_shared
from weightwright.stats.intervals import Interval, mean_interval


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm costs. `peak_bytes` is None where it cannot be measured (another process, not Linux)."""

    seconds_per_question: float
    latency_s: float
    prompt_tokens: float
    completion_tokens: float
    peak_bytes: int | None
    tuning_s: float | None

    def data(self) -> dict[str, Any]:
        """As JSON; tokens are means per question."""
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
        """Questions that brought no answer; they score 0."""
        return sum(record.answer is None for record in self.records)

    def column(self, metric: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """One metric's scores [questions], f64."""
        return np.array([scores[metric] for scores in self.scores], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the table, the report and the JSON show."""

    settings: CompareSettings
    questions: tuple[Question, ...]
    clusters: Labels
    arms: tuple[ArmResult, ...]
    verdict: Verdict
    provenance: Mapping[str, Any] = field(default_factory=dict)

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
            "clusters": len(np.unique(self.clusters)),
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
    clusters = by_shared([question.documents for question in questions])
    arms = tuple(
        _arm_result(settings, questions, arm, rows, clusters, peaks.get(arm.name), tuning_s)
        for arm, rows in records.items()
    )
    contenders = [
        Contender(
            result.arm.name,
            result.column(settings.primary),
            result.cost.seconds_per_question,
            result.arm.deployable,
        )
        for result in arms
    ]
    rule = Rule(settings.primary, settings.difference, settings.alpha, settings.seed)
    verdict = decide(contenders, clusters, rule)
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
    n = len(records)
    cost = Cost(
        seconds_per_question=sum(r.seconds for r in records) / n,
        latency_s=float(np.median([r.latency_s for r in records])),
        prompt_tokens=sum(r.prompt_tokens for r in records) / n,
        completion_tokens=sum(r.completion_tokens for r in records) / n,
        peak_bytes=peak_bytes,
        tuning_s=tuning_s if arm.adapter else None,
    )
    return ArmResult(arm, tuple(records), scores, means, by_kind, cost)


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
