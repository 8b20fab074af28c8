"""Our own metrics under the contract that an outsider's metric meets."""

import pytest

from weightwright.judge.metrics import METRICS, Metric
from weightwright.testing.metric import MetricContract


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
class TestOurs(MetricContract):
    """Each row of the table."""


def test_a_name_in_the_table_is_a_name_for_users() -> None:
    assert all(isinstance(metric, Metric) and metric.title for metric in METRICS.values())
