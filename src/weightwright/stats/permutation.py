"""Is a paired difference real? A sign-flip permutation test by cluster, and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weightwright.stats.clusters import Floats, sums

EXACT_CLUSTERS = 16
PERMUTATIONS = 19_999
_BATCH_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class FlipTest:
    """A two-sided p-value; `smallest_p` is the least this many clusters could have given."""

    p: float
    exact: bool
    clusters: int
    smallest_p: float


def sign_flip(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> FlipTest:
    """Paired permutation test of mean difference 0: differences a - b [n], cluster labels [n].

    Under "no difference" which arm is called a is arbitrary within each cluster, so the sign of each
    cluster's sum may be flipped (Fisher 1935; by cluster as in Gail et al. 1996, Stat. Med. 15:1069).
    All 2^k flips are counted when at most EXACT_CLUSTERS clusters differ; otherwise `permutations` random
    ones with p = (1 + as extreme) / (1 + permutations), never 0 (Phipson & Smyth 2010, SAGMB 9:39).
    """
    totals, _ = sums(differences, clusters)
    k = len(totals)
    moved = totals[totals != 0]
    if moved.size == 0:
        return FlipTest(1.0, True, k, min(1.0, 2.0 ** (1 - k)))
    # Sums of the same numbers in another order may differ in the last bits: they still count as equal.
    observed = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()
    if moved.size <= EXACT_CLUSTERS:
        p = float(np.mean(np.abs(_all_flips(moved)) >= observed))
        return FlipTest(p, True, k, min(1.0, 2.0 ** (1 - k)))
    extreme = _random_extreme(moved, float(observed), permutations, np.random.default_rng(seed))
    return FlipTest((1 + extreme) / (1 + permutations), False, k, 1 / (1 + permutations))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being several, in the order given (Holm 1979, Scand. J. Statist. 6:65).

    The i-th smallest of m is multiplied by m - i + 1; never smaller than the one before, at most 1.
    """
    m = len(p_values)
    corrected, floor = [1.0] * m, 0.0
    for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (m - rank) * p_values[index]))
        corrected[index] = floor
    return corrected


def _all_flips(totals: Floats) -> Floats:
    """Sums [2^(k-1)] under every assignment of signs; the first stays, as the test is two-sided."""
    flips = np.array([totals[0]])
    for total in totals[1:]:
        flips = np.concatenate((flips + total, flips - total))
    return flips


def _random_extreme(totals: Floats, observed: float, permutations: int, rng: np.random.Generator) -> int:
    """How many of `permutations` random sign assignments reach |sum| >= observed."""
    extreme, step = 0, max(1, _BATCH_VALUES // totals.size)
    for start in range(0, permutations, step):
        shape = (min(step, permutations - start), totals.size)
        signs = rng.integers(0, 2, size=shape, dtype=np.int8)
        flipped = 2.0 * (signs @ totals) - totals.sum()
        extreme += int(np.count_nonzero(np.abs(flipped) >= observed))
    return extreme
