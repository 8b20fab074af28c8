"""Reference metrics on cases worked out by hand, in both languages."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.judge.metrics import METRICS, score
from weightwright.judge.words import is_refusal, without_marks, words

WHO, WHEN, ZH = "Who won the match?", "Within how many days?", "电池由哪家公司供应？"


def one(metric: str, question: str, answer: str | None, *references: str) -> float:
    return score(question, answer, references, (metric,))[metric]


@pytest.mark.parametrize(
    ("answer", "reference", "f1", "exact", "contains"),
    [
        ("The Panthers.", "panthers", 1.0, 1.0, 1.0),
        ("the Denver Broncos won", "Denver Broncos", 2 * 2 / (3 + 2), 0.0, 1.0),
        ("Broncos of Denver", "Denver Broncos", 2 * 2 / (3 + 2), 0.0, 0.0),
        ("15 days", "5 days", 0.5, 0.0, 0.0),
        ("seven", "eight", 0.0, 0.0, 0.0),
        ("", "eight", 0.0, 0.0, 0.0),
        ("no no no", "no", 2 / 4, 0.0, 1.0),
    ],
)
def test_english_by_hand(answer: str, reference: str, f1: float, exact: float, contains: float) -> None:
    assert one("f1", WHO, answer, reference) == pytest.approx(f1)
    assert one("exact_match", WHO, answer, reference) == exact
    assert one("contains", WHO, answer, reference) == contains


@pytest.mark.parametrize(
    ("answer", "reference", "f1", "exact", "contains"),
    [
        ("安珀福德公司。", "安珀福德公司", 1.0, 1.0, 1.0),
        ("由安珀福德公司供应", "安珀福德公司", 2 * 6 / (9 + 6), 0.0, 1.0),
        ("安珀", "安珀福德公司", 2 * 2 / (2 + 6), 0.0, 0.0),
        ("２１天内", "21天", 2 * 2 / (3 + 2), 0.0, 1.0),
        ("121天", "21天", 2 * 1 / (2 + 2), 0.0, 0.0),
        ("Amperfold 公司", "amperfold公司", 1.0, 1.0, 1.0),
    ],
)
def test_chinese_by_characters(answer: str, reference: str, f1: float, exact: float, contains: float) -> None:
    assert one("f1", ZH, answer, reference) == pytest.approx(f1)
    assert one("exact_match", ZH, answer, reference) == exact
    assert one("contains", ZH, answer, reference) == contains


def test_the_best_reference_counts() -> None:
    assert one("f1", WHO, "twenty-one days", "3 weeks", "twenty-one days") == 1.0
    assert score(WHO, "x", (), METRICS) == dict.fromkeys(METRICS, 0.0)


def test_citation_marks_are_not_words() -> None:
    assert without_marks("21 days [1], says [2, 3].") == "21 days, says."
    assert one("exact_match", WHEN, "21 days [1].", "21 days") == 1.0
    assert one("exact_match", ZH, "安珀福德公司【1】。", "安珀福德公司") == 1.0
    assert words("list[0] [x]", "en") == ["list", "x"]


def test_a_failed_answer_scores_zero_everywhere() -> None:
    assert score(WHO, None, ("x",)) == dict.fromkeys(METRICS, 0.0)
    assert score(WHO, None, ("The documents do not say.",)) == dict.fromkeys(METRICS, 0.0)


def test_where_nothing_is_said_only_saying_so_is_right() -> None:
    reference = "The documents do not say."
    right = score(WHEN, "The documents do not say [1].", (reference,))
    assert right == dict.fromkeys(METRICS, 1.0)
    assert score(WHEN, "The documents do say: 21 days.", (reference,)) == dict.fromkeys(METRICS, 0.0)
    own_words = score(WHEN, "The provided sources do not mention a number of days.", (reference,))
    assert own_words == dict.fromkeys(METRICS, 1.0)
    assert score(ZH, "资料未提及该公司。", ("资料中没有说明。",)) == dict.fromkeys(METRICS, 1.0)
    assert score(ZH, "安珀福德公司", ("资料中没有说明。",)) == dict.fromkeys(METRICS, 0.0)


def test_where_something_is_said_denying_it_is_wrong() -> None:
    assert score(WHEN, "The documents do not say.", ("The 21 days",)) == dict.fromkeys(METRICS, 0.0)
    assert one("no_answer", WHEN, "30 days", "21 days") == 1.0


def test_the_agreed_sentence_can_be_changed() -> None:
    changed = score(WHEN, "Ask the desk!", ("Ask the desk.",), no_answer="Ask the desk.")
    assert changed == dict.fromkeys(METRICS, 1.0)
    wrong = score(WHEN, "21 days", ("Ask the desk.",), no_answer="Ask the desk.")
    assert wrong == dict.fromkeys(METRICS, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "It is not specified.",
        "The text does not explicitly state this.",
        "I don't know.",
        "Unknown",
        "There is no information about it.",
        "They don’t say.",
    ],
)
def test_refusals_in_other_words(text: str) -> None:
    assert is_refusal(text, "en")


@pytest.mark.parametrize(
    "text",
    [
        "9 to 17; this does not include weekends",
        "The tomb of the unknown soldier",
        "No",
        "Badges must not be given away",
    ],
)
def test_answers_with_a_not_are_no_refusals(text: str) -> None:
    assert not is_refusal(text, "en")


TEXTS = st.text(max_size=40)


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3))
def test_scores_are_numbers_between_0_and_1(question: str, answer: str, references: list[str]) -> None:
    for value in score(question, answer, references).values():
        assert math.isfinite(value)
        assert 0 <= value <= 1


@given(TEXTS)
def test_a_reference_that_has_words_agrees_with_itself(text: str) -> None:
    if words(text, "en") and not is_refusal(text, "en"):
        assert set(score(WHO, text, (text,)).values()) == {1.0}
