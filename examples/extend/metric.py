"""A metric of your own: ROUGE-L (Lin 2004), the longest run of words in common, gaps allowed.

Run its contract with `pytest examples/extend/metric.py`. Once imported, `judge` and `compare` know it by name.
"""

import pytest

from weightwright.judge.metrics import METRICS, Metric, Text
from weightwright.testing import MetricContract


def rouge_l(said: Text, wanted: Text) -> float:
    """F-measure of the longest common subsequence of words, 0 to 1."""
    lengths = [0] * (len(wanted.words) + 1)
    for word in said.words:
        before = 0
        for place, other in enumerate(wanted.words, 1):
            before, lengths[place] = (
                lengths[place],
                before + 1 if word == other else max(lengths[place], lengths[place - 1]),
            )
    return 2 * lengths[-1] / (len(said.words) + len(wanted.words)) if lengths[-1] else 0.0


METRICS["rouge_l"] = Metric(rouge_l, "the longest run of words in common, gaps allowed", "ROUGE-L")


class TestRougeL(MetricContract):
    """What must hold of every metric."""

    @pytest.fixture
    def metric(self) -> Metric:
        """The metric under test."""
        return METRICS["rouge_l"]
