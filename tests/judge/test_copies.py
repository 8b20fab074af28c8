"""Copies of one question, and questions about one document, are one cluster: no evidence of their own."""

from dataclasses import dataclass

import pytest

from weightwright.judge.copies import clusters_of


@dataclass(frozen=True)
class Q:
    question: str
    references: tuple[str, ...] = ("yes",)
    documents: tuple[str, ...] = ()
    id: str = ""


def labels(*questions: Q) -> list[int]:
    return clusters_of(questions).labels.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who won the cup?", "Who won the cup?"),
        ("Who won the cup?", "WHO WON THE CUP"),
        ("Who won the cup?", "  Who\u00a0won\tthe cup ?\n"),
        ("Who won the cup?", "Ｗｈｏ　ｗｏｎ　ｔｈｅ　ｃｕｐ？"),
        ("Where is the café?", "Where is the cafe\u0301?"),
        ("Who won the cup?", "Who won\u200b the cup\u00ad?"),
        ("Who won the cup?", "“Who won the cup?”"),
        ("Who won the cup?", "**Who won the cup?**"),
        ("法国的首都是哪里？", "法国 的首都 是哪里?"),
        ("Wer führt die Straße?", "WER FÜHRT DIE STRASSE"),
    ],
)
def test_the_same_text_is_one_question_whatever_is_expected(one: str, other: str) -> None:
    assert labels(Q(one, ("a",)), Q("Another one?"), Q(other, ("b",))) == [0, 1, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 3+5?", "What is 3-5?"),
        ("What is 3.5 in words?", "What is 35 in words?"),
        ("What is -5 in words?", "What is 5 in words?"),
        ("Who made C?", "Who made C++?"),
        ("Who made C?", "Who made C#?"),
        ("What colour is item 3?", "What colour is item 4?"),
        ("Is Bob taller than Eve?", "Is Eve taller than Bob?"),
        ("Is it open?", "Is it not open?"),
        ("?", "!"),
        ("甲比乙高吗？", "乙比甲高吗？"),
    ],
)
def test_other_questions_stay_apart_though_one_answer_is_expected(one: str, other: str) -> None:
    assert labels(Q(one), Q(other)) == [0, 1]


def test_near_copies_share_words_and_a_reference() -> None:
    first = Q("What is the capital of France?", ("Paris",))
    assert labels(first, Q("Please tell me: what's the capital of France", ("paris.", "Lutetia"))) == [0, 0]
    assert labels(first, Q("Was the capital of France?", ("Vichy",))) == [0, 1]
    assert labels(Q("请问法国的首都是哪里？", ("巴黎",)), Q("法国首都在哪里", ("巴黎。",))) == [0, 0]


def test_a_document_has_one_name() -> None:
    named = [
        ("docs/a.md",),
        ("a.md",),
        ("./docs/a.md",),
        ("docs\\a.md",),
        ("x/b.md",),
        ("y/b.md",),
        ("b.md",),
    ]
    questions = [
        Q(f"Is this question {word}?", documents=d) for word, d in zip("abcdefg", named, strict=True)
    ]
    assert labels(*questions) == [0, 0, 0, 0, 1, 2, 3]


def test_copies_join_the_documents_that_they_name() -> None:
    questions = [Q("One?", documents=("a",)), Q("Two?", documents=("b",)), Q("one", documents=("b", "c"))]
    assert labels(*questions) == [0, 0, 0]


def test_the_caution_counts_copies_and_names_some() -> None:
    twice = [Q("One?", id="x"), Q("Two?", id="y"), Q("one", id="z")]
    assert clusters_of(twice).caution == (
        "1 of 3 questions repeats another one (such as x: z); copies count as one question"
    )
    assert clusters_of(twice[:2]).caution == ""
