"""How many questions show a difference, and which difference the questions at hand can show."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from weightwright.stats.clusters import effective, sums

POWER = 0.8


@dataclass(frozen=True, slots=True)
class Spread:
    """How paired differences scatter. `variance` is per question and counts clustering: n x var(mean).

    `clusters` is as many equal ones as those at hand are worth.
    """

    variance: float
    design_effect: float
    n: int
    clusters: float


def spread(differences: ArrayLike, clusters: ArrayLike | None = None) -> Spread:
    """The scatter of paired differences [n] in clusters [n].

    var(mean) is the linearised variance of a ratio of cluster sums (Cochran 1977, Sampling Techniques,
    section 9A.2 / eq. 2.39); the design effect is its ratio to the variance of n independent questions
    (Kish 1965, section 5.4). Two clusters are the least that can be judged: fewer give ValueError.
    """
    totals, sizes = sums(differences, clusters)
    k, n = len(totals), int(sizes.sum())
    if k < 2:
        raise ValueError(f"needs at least 2 independent clusters to judge scatter, got {k}")
    mean = totals.sum() / n
    of_mean = k / (k - 1) * float(((totals - mean * sizes) ** 2).sum()) / n**2
    alone = float(np.var(np.asarray(differences, dtype=np.float64), ddof=1)) / n
    return Spread(of_mean * n, of_mean / alone if alone > 0 else 1.0, n, effective(sizes))


def questions_needed(scatter: Spread, difference: float, *, alpha: float = 0.05, power: float = POWER) -> int:
    """Questions (in clusters as large as now) at which a true `difference` is shown with `power`.

    n = (t_{1-alpha/2} + t_{power})^2 x variance / difference^2, with Student's t for the clusters that n
    questions make (two-sided paired test; Cohen 1988, chapter 2; clusters: Donner & Klar 2000, chapter 5).
    Raises ValueError when the difference is 0.
    """
    if difference == 0:
        raise ValueError("no number of questions shows a difference of 0; give one above 0")
    per_cluster = scatter.n / scatter.clusters
    least = math.ceil(max(2, math.log2(2 / alpha)) * per_cluster)  # fewer flips cannot reach p <= alpha

    def shown(n: int) -> bool:
        df = max(1.0, n / per_cluster - 1)
        return _reach(df, alpha, power) ** 2 * scatter.variance <= n * difference**2

    high = least
    while not shown(high):
        high *= 2
    low = least - 1 if high == least else high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def detectable_difference(scatter: Spread, *, alpha: float = 0.05, power: float = POWER) -> float:
    """The true difference that the questions at hand would show with `power` (see `questions_needed`)."""
    return float(
        _reach(max(1.0, scatter.clusters - 1), alpha, power) * math.sqrt(scatter.variance / scatter.n)
    )


def _reach(df: float, alpha: float, power: float) -> float:
    return float(stats.t.ppf(1 - alpha / 2, df) + stats.t.ppf(power, df))
