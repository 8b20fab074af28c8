"""The permutation test against scipy's and against counting by hand; Holm by hand and its calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from weightwright.stats import permutation as tested
from weightwright.stats.permutation import holm, sign_flip


def test_by_hand() -> None:
    # Sums of +-1 +-2 +-3: of 8 sign choices only +++ and --- reach 6.
    assert sign_flip([1.0, 2.0, 3.0]).p == 2 / 8
    # |1 + 2 - 3| = 0 is reached by all.
    assert sign_flip([1.0, 2.0, -3.0]).p == 1.0
    # |1 - 2 + 4| = 3 is reached by 7, 5, 3 and their negatives: 6 of 8.
    assert sign_flip([1.0, -2.0, 4.0]).p == 6 / 8


def test_exact_equals_scipys_exact_test() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, size=10)
    theirs = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    ours = sign_flip(differences)
    assert ours.exact
    assert ours.p == pytest.approx(theirs.pvalue)


def test_monte_carlo_agrees_with_the_exact_test(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(2).normal(0.4, 1, size=16)
    exact = sign_flip(differences)
    monkeypatch.setattr(tested, "EXACT_CLUSTERS", 0)
    random = sign_flip(differences)
    assert (exact.exact, random.exact) == (True, False)
    assert random.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p / tested.PERMUTATIONS))


def test_monte_carlo_is_never_zero_and_repeats_with_its_seed() -> None:
    certain = sign_flip(np.ones(200), permutations=999)
    assert certain.p == certain.smallest_p == 1 / 1000
    differences = np.random.default_rng(1).normal(size=100)
    assert sign_flip(differences, seed=5) == sign_flip(differences, seed=5)


def test_signs_flip_by_cluster() -> None:
    # Twelve copies of one observation are one observation.
    assert sign_flip([0.5] * 12, ["one"] * 12).p == 1.0
    assert sign_flip([0.5] * 12).p == 2 / 2**12
    pairs = sign_flip([1.0, 0.0, 1.0, 1.0, 2.0, 1.0], [0, 0, 1, 1, 2, 2])
    assert pairs.p == sign_flip([1.0, 2.0, 3.0]).p
    assert pairs.smallest_p == 0.25


def test_no_difference_at_all() -> None:
    assert sign_flip([0.0] * 9).p == 1.0


def test_ties_count_as_equal_despite_rounding() -> None:
    tenths = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
    assert sign_flip(tenths).p == sign_flip([1.0, 2.0, 3.0, 1.0, 2.0, 3.0]).p == 2 / 64
    assert sign_flip([0.1, 0.2, -0.3]).p == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni_and_keeps_the_order(raw: list[float]) -> None:
    corrected = holm(raw)
    for p, q in zip(raw, corrected, strict=True):
        assert p <= q <= min(1.0, len(raw) * p) + 1e-12
    order = np.argsort(raw, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


@pytest.mark.parametrize("k", [12, 40])
def test_false_alarms_come_at_about_five_percent(k: int) -> None:
    """No difference, scores as they are (many zeros, clusters of 1 to 3): p < 0.05 in 5% or a little less."""
    rng = np.random.default_rng(k)
    runs, alarms = 400, 0
    for run in range(runs):
        sizes = rng.integers(1, 4, size=k)
        labels = np.repeat(np.arange(k), sizes)
        shift = np.repeat(rng.normal(0, 0.2, size=k), sizes)
        differences = shift + rng.choice([-1.0, 0.0, 0.0, 1.0], size=labels.size)
        alarms += sign_flip(differences, labels, permutations=499, seed=run).p < 0.05
    assert stats.binomtest(alarms, runs, 0.05).pvalue > 1e-3
