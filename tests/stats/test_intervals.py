"""Intervals against scipy's bootstrap, against hand-computed cases, and at their edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from weightwright.stats.clusters import by_shared, sums
from weightwright.stats.intervals import (
    FEW_CLUSTERS,
    cluster_bootstrap,
    difference_interval,
    mean_interval,
    wilson,
)


def test_bootstrap_distribution_equals_scipys_for_independent_values() -> None:
    values = np.random.default_rng(3).beta(1, 2, size=60)
    ours = cluster_bootstrap(values, np.ones(60), resamples=40_000, seed=0)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
    )
    assert np.quantile(ours, [0.025, 0.975]) == pytest.approx(list(theirs.confidence_interval), abs=2e-3)
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.02)


def test_many_clusters_agree_with_scipys_bca() -> None:
    values = np.random.default_rng(4).exponential(size=400) / 10
    ours = mean_interval(values, resamples=40_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(1)
    )
    assert (ours.low, ours.high) == pytest.approx(list(theirs.confidence_interval), abs=3e-4)


def test_whole_clusters_are_drawn() -> None:
    # Ten copies of each value add no information: the interval must be that of the ten values alone.
    values = np.random.default_rng(5).random(20)
    alone = mean_interval(values)
    copied = mean_interval(np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    assert (copied.n, copied.clusters) == (200, 20)
    pretending = mean_interval(np.repeat(values, 10))
    assert pretending.high - pretending.low < 0.5 * (copied.high - copied.low)


def test_unanimous_scores_fall_back_to_wilson_over_clusters() -> None:
    nothing = mean_interval([0.0] * 20, np.repeat(np.arange(10), 2))
    assert (nothing.low, nothing.high) == wilson(0, 10)
    everything = mean_interval([1.0] * 10)
    assert (everything.low, everything.high) == wilson(10, 10)
    assert mean_interval([0.5] * 10).low == mean_interval([0.5] * 10).high == 0.5


def test_difference_is_paired() -> None:
    rng = np.random.default_rng(6)
    hardness = rng.random(50)
    interval = difference_interval(hardness + 0.1, hardness, seed=1)
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1))
    same = difference_interval(hardness, hardness)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    ab = difference_interval(hardness, rng.random(50))
    assert ab.low < ab.mean < ab.high


def test_one_cluster_shows_only_its_range_and_few_bring_a_caution() -> None:
    alone = mean_interval([0.2, 0.4], ["a", "a"])
    assert (alone.low, alone.high) == (0.2, 0.4)
    assert "only 1 independent cluster:" in alone.caution
    assert "only 2 independent clusters" in mean_interval([0.2, 0.4]).caution
    assert not mean_interval(np.linspace(0, 1, FEW_CLUSTERS)).caution


def test_one_overwhelming_cluster_widens_the_interval_and_brings_a_caution() -> None:
    values = np.random.default_rng(1).random(60)
    overwhelming, even = [0] * 40 + list(range(1, 21)), np.arange(60) % 21
    interval = mean_interval(values, overwhelming)
    assert interval.effective_clusters == pytest.approx(60**2 / (40**2 + 20))
    assert "21 independent clusters, worth 2 of equal size" in interval.caution
    assert "worth 2" in difference_interval(values, values, overwhelming).caution
    assert interval.high - interval.low > mean_interval(values, even).high - mean_interval(values, even).low
    assert not mean_interval(values, even).caution


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], None, "at least one"),
        ([0.1, float("nan")], None, "1 of 2 values"),
        ([0.1, 0.2], [1], "cluster labels"),
    ],
)
def test_wrong_input_is_refused(values: list[float], clusters: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval(values, clusters)


def test_wilson_by_hand_and_by_scipy() -> None:
    # 7 of 10 at z = 1.96: (0.7 + 0.19208 -+ 1.96 sqrt(0.021 + 0.009604)) / 1.38416, by hand
    assert wilson(7, 10) == pytest.approx((0.3968, 0.8922), abs=1e-4)
    for successes, n in ((0, 5), (5, 5), (3, 40), (199, 200)):
        theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    with pytest.raises(ValueError, match="11 of 10"):
        wilson(11, 10)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_interval_holds_the_mean_inside_the_range(values: list[float], per_cluster: int) -> None:
    clusters = [i // per_cluster for i in range(len(values))]
    interval = mean_interval(values, clusters, resamples=200)
    assert 0 <= interval.low <= interval.mean + 1e-12
    assert interval.mean - 1e-12 <= interval.high <= 1


def test_shared_documents_make_clusters_through_others() -> None:
    labels = by_shared([["a"], ["b"], ["a", "c"], [], ["c"], [], ["b", "d"]])
    assert labels.tolist() == [0, 1, 0, 2, 0, 3, 1]
    assert by_shared([["x"], ["y"], ["x", "y"]]).tolist() == [0, 0, 0]


def test_sums_take_labels_of_any_kind() -> None:
    totals, sizes = sums([1.0, 2.0, 4.0], ["b", "a", "b"])
    assert totals.tolist() == [2.0, 5.0]
    assert sizes.tolist() == [1.0, 2.0]
