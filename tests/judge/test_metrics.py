"""Reference metrics on cases worked out by hand, in both languages."""

import math
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.judge.metrics import METRICS, score
from weightwright.judge.refusal import is_refusal
from weightwright.judge.words import without_marks, words

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


# -- numbers, names and labels


DIFFERENT = [
    ("3.5", "35"), ("3.5", "3 5"), ("-5", "5"), ("−5 °C", "5 °C"), ("10:30", "1030"), ("10:30", "10.30"),
    ("1/2", "12"), ("1,2", "12"), ("1,000", "1"), ("1.000", "1000"), ("5-10", "510"), ("5–10", "510"),
    ("3~5", "35"), ("10²", "102"), ("1.2.3", "123"), ("2½", "21/2"), ("1e-3", "13"),
    ("12345678901234567890", "12345678901234567891"), (".5", "5"), ("-0.5", "0.5"), ("-$5", "$5"),
    ("€5", "$5"), ("10 minus 5", "10 -5"), ("C++", "C"), ("C#", "C"), ("F#", "F"), ("C++", "C#"),
    ("blood group A+", "blood group A"), ("x = -5", "x = 5"), ("5;6", "56"), ("v2.0", "v20"),
]  # fmt: skip
EQUAL = [
    ("1,000", "1000"), ("1,234,567.50", "1234567.5"), ("3.50", "3.5"), ("５．５", "5.5"), (".5", "0.5"),
    ("50 %", "50%"), ("50%", "50"), ("$1,000", "1000"), ("€1,000", "€1000"), ("twenty-one", "twenty one"),
    ("GPT‑4", "gpt 4"), ("−5", "-5"), ("–5", "-5"), ("(-5)", "-5"), ("1e-3", "0.001"), ("½", "1/2"),
    ("09:30", "9:30"), ("1'000", "1000"), ("10\u202f000", "10000"), ("-0", "0"), ("٣", "3"), ("C++.", "c++"),
    ("C# (the language)", "c# the language"), ("5.", "5"), ("+5", "5"), ("minus 5", "-5"),
    ("negative 3.50", "-3.5"), ("US$5", "US 5"), ("-$5", "-5"), ("$-5", "-5"), ("2020-01-05", "2020 1 5"),
    ("12,34,567", "1234567"),
]  # fmt: skip
EQUAL_ZH = [
    ("二十一天", "21天"), ("二〇二〇年", "2020年"), ("一万两千", "12000"), ("三万五", "35000"),
    ("一百零五", "105"), ("三点五米", "3.5米"), ("百分之五十", "50%"), ("1.2万", "12,000"),
    ("3亿5千万", "350000000"), ("一亿二千万", "1.2亿"), ("零下五度", "-5度"), ("负三", "-3"), ("壹佰", "100"),
    ("１，０００元", "1000元"), ("第二十三条", "第23条"), ("十五", "15"), ("一万亿", "1000000000000"),
    ("两百", "200"),
]  # fmt: skip
DIFFERENT_ZH = [
    ("3.5米", "35米"), ("-5度", "5度"), ("10：30", "1030"), ("3月-5月", "3月5日"), ("10，200", "10200"),
    ("C++语言", "C语言"), ("三点五十分", "3.5"), ("二十", "210"), ("一百五", "105"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wanted"), DIFFERENT)
def test_numbers_and_names_that_are_not_the_same(said: str, wanted: str) -> None:
    assert one("exact_match", WHO, said, wanted) == one("exact_match", WHO, wanted, said) == 0.0
    assert one("f1", WHO, said, wanted) < 1.0


@pytest.mark.parametrize(("said", "wanted"), EQUAL)
def test_numbers_and_names_that_are_the_same(said: str, wanted: str) -> None:
    assert one("exact_match", WHO, said, wanted) == one("f1", WHO, wanted, said) == 1.0
    assert one("contains", WHO, f"It is {said}, we think", wanted) == 1.0


@pytest.mark.parametrize(("said", "wanted"), EQUAL_ZH)
def test_chinese_numbers_that_are_the_same(said: str, wanted: str) -> None:
    assert one("exact_match", ZH, said, wanted) == one("exact_match", ZH, wanted, said) == 1.0


@pytest.mark.parametrize(("said", "wanted"), DIFFERENT_ZH)
def test_chinese_numbers_that_are_not_the_same(said: str, wanted: str) -> None:
    assert one("exact_match", ZH, said, wanted) == one("exact_match", ZH, wanted, said) == 0.0


@pytest.mark.parametrize(
    ("answer", "reference", "stands"),
    [
        ("The answer is (A).", "A", 1.0),
        ("Answer: A", "(A)", 1.0),
        ("Option A is right", "A", 1.0),
        ("**A**", "A", 1.0),
        ("A dog", "A", 0.0),
        ("The answer is a dog (B).", "A", 0.0),
        ("The year is [1998].", "1998", 1.0),
        ("It opened in 【1998】 again", "1998", 1.0),
        ("The answer is [5].", "5", 1.0),
        ("[5]", "5", 1.0),
        ("The total is [1,000].", "1000", 1.0),
        ("Some weeks [5].", "5", 0.0),
        ("Some weeks [4, 5].", "5", 0.0),
        ("Some weeks [4-6].", "4", 0.0),
        ("[5] says: some weeks", "5", 0.0),
        ("The sign is +.", "+", 1.0),
        ("The sign is -.", "+", 0.0),
        ("They are two (😀)", "😀", 1.0),
    ],
)
def test_labels_years_and_signs_are_answers_but_citation_marks_are_not(
    answer: str, reference: str, stands: float
) -> None:
    assert one("contains", WHO, answer, reference) == stands


@pytest.mark.parametrize(
    ("answer", "reference", "stands"),
    [
        ("The state. The documents do not say more.", "The state", 1.0),
        ("21 days; the sources do not mention weekends", "21 days", 1.0),
        ("The documents do not say.", "documents", 0.0),
        ("The documents do not say, I don't know.", "21 days", 0.0),
    ],
)
def test_saying_that_no_more_is_said_denies_nothing(answer: str, reference: str, stands: float) -> None:
    assert score(WHO, answer, (reference,), ("contains", "no_answer")) == {
        "contains": stands,
        "no_answer": stands,
    }


def test_a_custom_sentence_denies_only_where_no_reference_stands() -> None:
    def stands(answer: str, reference: str) -> float:
        return score(WHO, answer, (reference,), ("contains",), no_answer="Ask the desk.")["contains"]

    assert stands("Bob. For more, ask the desk.", "Bob") == 1.0
    assert stands("Ask the desk!", "desk") == 0.0


def test_either_of_two_views_may_be_right() -> None:
    references = ("The documents do not say.", "21 days")
    assert set(score(WHO, "21 days", references).values()) == {1.0}
    assert set(score(WHO, "The sources do not say.", references).values()) == {1.0}
    assert one("contains", WHO, "30 days", *references) == 0.0


@pytest.mark.parametrize("empty", ["", " \n", None])
def test_an_answer_without_text_is_never_right(empty: str | None) -> None:
    for reference in ("21 days", "The documents do not say."):
        assert score(WHO, empty, (reference,)) == dict.fromkeys(METRICS, 0.0)


# -- against SQuAD's own normalisation, written anew from its description (arXiv 1606.05250, v1.1's scoring)


def squad_words(text: str) -> list[str]:
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split()).split()


PLAIN = st.text(string.ascii_letters + " \n,.;:!?'\"()&%$@", max_size=60)


@given(PLAIN)
def test_without_numbers_and_hyphens_the_words_are_squads(text: str) -> None:
    assert words(text, "en") == squad_words(text)
