"""Why the interval is what it is: coverage of 95% intervals in a simulation like our data.

Slow; prints the table from which the method was chosen (run with -s).
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from weightwright.stats.clusters import sums
from weightwright.stats.intervals import cluster_bootstrap, mean_interval

RUNS = 1000


def sample(kind: str, k: int, rng: np.random.Generator) -> tuple[NDArray, NDArray, float]:
    """Values, labels and the true mean: k clusters of 1 to 4 questions."""
    sizes = rng.integers(1, 5, size=k)
    labels = np.repeat(np.arange(k), sizes)
    if kind == "right or wrong":
        chance = np.repeat(rng.beta(1, 3, size=k), sizes)
        return (rng.random(labels.size) < chance).astype(float), labels, 0.25
    if kind == "rarely right":
        chance = np.repeat(rng.beta(0.5, 4.5, size=k), sizes)
        return (rng.random(labels.size) < chance) * rng.random(labels.size), labels, 0.05
    shift = np.repeat(rng.normal(0, 0.2, size=k), sizes)
    change = rng.choice([-1, 0, 0, 0, 1], size=labels.size) * rng.random(labels.size) * 0.8
    return shift + change, labels, 0.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["difference", "right or wrong", "rarely right"])
@pytest.mark.parametrize("k", [15, 20, 40])
def test_coverage(kind: str, k: int) -> None:
    rng = np.random.default_rng(k)
    ours = percentile = 0
    for run in range(RUNS):
        values, labels, true = sample(kind, k, rng)
        interval = mean_interval(values, labels, resamples=1000, seed=run)
        ours += interval.low <= true <= interval.high
        low, high = np.quantile(
            cluster_bootstrap(*sums(values, labels), resamples=1000, seed=run), [0.025, 0.975]
        )
        percentile += low <= true <= high
    print(f"{kind:15} {k:3} clusters: ours {ours / RUNS:.3f}, percentile {percentile / RUNS:.3f}")
    assert ours >= percentile - RUNS * 0.005
    assert stats.binomtest(ours, RUNS, 0.90, alternative="less").pvalue > 0.01
