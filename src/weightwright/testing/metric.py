# ruff: noqa: D102 (the names of tests say what they test)
"""The contract of a reference metric: subclass `MetricContract` and give it a `metric` fixture.

    class TestRougeL(MetricContract):
        @pytest.fixture
        def metric(self):
            return Metric(rouge_l, "the longest run of words in common, gaps allowed")

A metric is a row of `weightwright.judge.metrics.METRICS`; once there, `judge` and `compare` take it by its name.
"""

import random
from collections.abc import Iterator

import pytest

from weightwright.judge.metrics import METRICS, Metric, score

QUESTIONS = ("Which one is it?", "是哪一个？")
_PARTS = (
    "the",
    "river",
    "bank",
    "-5",
    "3.50",
    "C++",
    "(A)",
    "公",
    "司",
    "二十一",
    "\n",
    ",",
    ".",
    "[1]",
    "é",
    "😀",
    "",
)
NAME = "under contract"


def texts(seed: int = 0, count: int = 200) -> list[str]:
    """Answers and references of up to six parts: words, numbers, Chinese, punctuation, citation marks."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(_PARTS, k=chance.randint(1, 6))) for _ in range(count)]


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text.replace("[1]", ""))


class MetricContract:
    """Subclass it with a `metric` fixture."""

    @pytest.fixture
    def scored(self, metric: Metric) -> Iterator[str]:
        """The name under which `score` knows the metric for the time of a test."""
        METRICS[NAME] = metric
        yield NAME
        del METRICS[NAME]

    def test_it_says_what_it_means(self, metric: Metric) -> None:
        assert metric.meaning
        assert metric.low < metric.high

    def test_every_score_is_a_number_in_range(self, metric: Metric, scored: str) -> None:
        for question in QUESTIONS:
            for answer, reference in zip(texts(1), texts(2), strict=True):
                value = score(question, answer, (reference,), (scored,))[scored]
                assert metric.low <= value <= metric.high, (answer, reference)

    def test_a_failed_or_empty_answer_scores_lowest(self, metric: Metric, scored: str) -> None:
        for answer in (None, "", " \n"):
            for reference in ("river bank", "", "The documents do not say."):
                assert score(QUESTIONS[0], answer, (reference,), (scored,)) == {scored: metric.low}

    def test_the_reference_itself_scores_highest(self, metric: Metric, scored: str) -> None:
        for question in QUESTIONS:
            for text in texts(3):
                if _has_words(text):
                    assert score(question, text, (text,), (scored,)) == {scored: metric.high}, text

    def test_case_spacing_and_a_full_stop_change_nothing(self, metric: Metric, scored: str) -> None:
        for answer, reference in zip(texts(4), filter(_has_words, texts(5, 400)), strict=False):
            plain = score(QUESTIONS[0], f"so {answer} it", (reference,), (scored,))
            assert score(QUESTIONS[0], f"  SO {answer}  it. ", (reference,), (scored,)) == plain, (
                answer,
                reference,
            )

    def test_the_order_of_references_changes_nothing_and_one_more_never_lowers(
        self, metric: Metric, scored: str
    ) -> None:
        for answer, first, second in zip(texts(6), texts(7), texts(8), strict=True):
            both = score(QUESTIONS[0], answer, (first, second), (scored,))
            assert both == score(QUESTIONS[0], answer, (second, first), (scored,))
            assert both[scored] >= score(QUESTIONS[0], answer, (first,), (scored,))[scored]

    def test_it_is_the_same_every_time(self, metric: Metric, scored: str) -> None:
        for answer, reference in zip(texts(9, 50), texts(10, 50), strict=True):
            once = score(QUESTIONS[0], answer, (reference,), (scored,))
            assert score(QUESTIONS[0], answer, (reference,), (scored,)) == once
