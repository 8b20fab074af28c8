"""Terms: the same for a document and a question, in English and Chinese."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.rag.analyze import query_terms, stem, terms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("opened", "opening"),
        ("boxes", "box"),
        ("cities", "city"),
        ("planned", "plan"),
        ("quickly", "quick"),
        ("houses", "house"),
        ("runs", "running"),
        ("company's", "companies"),
        ("stops", "stopped"),
        ("founded", "founds"),
    ],
)
def test_forms_of_a_word_have_one_stem(one, other):
    assert terms(one) == terms(other)


@pytest.mark.parametrize("word", ["bus", "sing", "red", "pass", "this", "thing", "gas", "fly"])
def test_short_words_keep_their_ends(word):
    assert stem(word) == word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,234.50", ["1234.5"]),
        ("3.5", ["3.5"]),
        ("007", ["7"]),
        ("2024.01.15", ["2024.01.15"]),
        ("10%", ["10"]),
        ("100", ["100"]),
        ("0", ["0"]),
        ("ＡＢ１２", ["ab", "12"]),
        ("6½", ["6", "1", "2"]),
        ("iPhone15", ["iphon", "15"]),
        ("snake_case", ["snak", "case"]),
        ("Straße", ["straße"]),
        ("", []),
        ("?!…", []),
    ],
)
def test_numbers_and_forms(text, expected):
    assert terms(text) == expected


def test_chinese_is_cut_with_the_words_inside_words():
    assert {"南京", "长江", "大桥", "长江大桥"} <= set(terms("南京市长江大桥"))
    assert terms("BSkyB是什么时候") == ["bskyb", "是", "什么", "时候"]


def test_a_question_loses_its_stop_words_unless_it_has_nothing_else():
    assert query_terms("What is the capital of the Capital?") == ["capital"]
    assert query_terms("who is who") == ["who", "is"]
    assert "什么" not in query_terms("首都是什么")


@given(st.text(max_size=200))
def test_terms_are_safe_to_join_and_quote(text):
    for term in terms(text):
        assert term
        assert not re.search(r"[\s\"'*()_\x00]", term)
