"""Many scored rows as means with intervals: rows that share a question or a document are one cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightwright.errors import SettingsError
from weightwright.judge.copies import clusters_of
from weightwright.judge.inputs import AnswerRow, read_rows
from weightwright.judge.metrics import score
from weightwright.judge.settings import JudgeSettings
from weightwright.stats.intervals import Interval, mean_interval


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of every row, their means with intervals, how many answers had failed, and what to keep in mind."""

    rows: tuple[AnswerRow, ...]
    scores: tuple[Mapping[str, float], ...]
    means: Mapping[str, Interval]
    failed: int
    cautions: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """As JSON: scores by metric with `mean`, `low`, `high` and `n`; every row; how many had failed; cautions."""
        means = {
            metric: {"mean": m.mean, "low": m.low, "high": m.high, "n": m.n, "clusters": m.clusters}
            for metric, m in self.means.items()
        }
        rows = [
            {"id": row.id, "question": row.question, "answer": row.answer, "failed": row.answer is None}
            | {"references": list(row.references), "scores": dict(scores)}
            for row, scores in zip(self.rows, self.scores, strict=True)
        ]
        return {"scores": means, "rows": rows, "failed": self.failed, "cautions": list(self.cautions)}


def judge(settings: JudgeSettings) -> Judgement:
    """Score the rows of a file. Raises DataError for a bad file, SettingsError for a grader."""
    if settings.grader:
        raise SettingsError(
            f"--grader {settings.grader}: grading by a model is not available yet; "
            "leave it out for the reference metrics"
        )
    return judge_rows(read_rows(settings.rows), settings)


def judge_rows(rows: Sequence[AnswerRow], settings: JudgeSettings) -> Judgement:
    """Score rows at hand."""
    scores = tuple(
        score(row.question, row.answer, row.references, settings.metrics, no_answer=settings.no_answer)
        for row in rows
    )
    clusters = clusters_of(rows)
    means = {
        metric: mean_interval(
            [s[metric] for s in scores],
            clusters.labels,
            level=settings.level,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for metric in settings.metrics
    }
    failed = sum(not (row.answer or "").strip() for row in rows)
    cautions = tuple(filter(None, (clusters.caution, next(iter(means.values())).caution)))
    return Judgement(tuple(rows), scores, means, failed, cautions)
