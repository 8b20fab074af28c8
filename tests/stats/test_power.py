"""Planning: against the noncentral t distribution and against simulation."""

import numpy as np
import pytest
from scipy import stats

from weightwright.stats.permutation import sign_flip
from weightwright.stats.power import detectable_difference, questions_needed, spread


def exact_power(n: int, effect: float, alpha: float) -> float:
    """Power of the paired t-test by the noncentral t distribution: an independent route."""
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    shift = effect * np.sqrt(n)
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))


def test_agrees_with_the_power_of_the_paired_t_test() -> None:
    differences = np.random.default_rng(0).normal(size=500)
    scatter = spread(differences)
    assert scatter.design_effect == pytest.approx(1.0)
    for effect in (0.2, 0.5, 0.8):
        n = questions_needed(scatter, effect * np.sqrt(scatter.variance))
        assert exact_power(n, effect, 0.05) == pytest.approx(0.8, abs=0.03)


def test_copies_need_more_questions() -> None:
    values = np.random.default_rng(1).normal(size=100)
    alone, copied = spread(values), spread(np.repeat(values, 4), np.repeat(np.arange(100), 4))
    assert copied.design_effect == pytest.approx(4, rel=0.02)
    ratio = questions_needed(copied, 0.1) / questions_needed(alone, 0.1)
    assert ratio == pytest.approx(4, rel=0.02)


def test_needed_and_detectable_are_inverse() -> None:
    scatter = spread(np.random.default_rng(2).normal(0.1, 0.4, size=60), np.repeat(np.arange(30), 2))
    shown = detectable_difference(scatter)
    assert questions_needed(scatter, shown) == pytest.approx(60, abs=1)
    assert questions_needed(scatter, shown / 2) > 200
    assert questions_needed(scatter, shown, alpha=0.01) > 70


def test_one_overwhelming_cluster_asks_for_many_more_questions() -> None:
    differences = np.random.default_rng(4).normal(0.1, 0.3, size=60)
    overwhelming, even = [0] * 40 + list(range(1, 21)), np.arange(60) % 20
    needed = questions_needed(spread(differences, overwhelming), 0.5)
    assert needed > 60 > questions_needed(spread(differences, even), 0.5)


def test_never_fewer_than_the_flips_allow() -> None:
    # Equal differences have no scatter, yet 5 clusters give p = 0.0625 at best: 6 are needed.
    assert questions_needed(spread([0.5] * 8), 0.5) == 6


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="difference of 0"):
        questions_needed(spread([0.1, 0.2]), 0.0)
    with pytest.raises(ValueError, match="at least 2"):
        spread([0.1, 0.2], ["a", "a"])


def simulated_power(n: int, difference: float, runs: int) -> float:
    rng = np.random.default_rng(7)
    labels = np.arange(n) // 2
    shown = 0
    for run in range(runs):
        shared = np.repeat(rng.normal(0, 0.25, size=(n + 1) // 2), 2)[:n]
        differences = difference + shared + rng.normal(0, 0.35, size=n)
        shown += sign_flip(differences, labels, permutations=399, seed=run).p <= 0.05
    return shown / runs


def planned(difference: float) -> int:
    rng = np.random.default_rng(8)
    pilot = np.repeat(rng.normal(0, 0.25, size=2000), 2) + rng.normal(0, 0.35, size=4000)
    return questions_needed(spread(pilot, np.arange(4000) // 2), difference)


def test_the_planned_number_shows_the_difference_with_the_promised_power() -> None:
    assert simulated_power(planned(0.15), 0.15, runs=300) == pytest.approx(0.8, abs=0.08)


@pytest.mark.slow
def test_the_planned_number_shows_the_difference_closely() -> None:
    assert simulated_power(planned(0.1), 0.1, runs=4000) == pytest.approx(0.8, abs=0.025)
