"""Answers measured: what they cite, and whether they rightly say that the documents do not say."""

import pytest

from weightwright.errors import DataError
from weightwright.ports import Document
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase
from weightwright.rag.evaluate_answers import Question, evaluate_answers, read_questions
from weightwright.rag.extract import Extract
from weightwright.testing.embedder import HashEmbedder
from weightwright.testing.store import open_at

DOCUMENTS = [
    Document("pool.md", "The swimming pool opens at 7 in the morning. A ticket costs 4 euros."),
    Document("library.md", "The library lends up to 12 books. Fines are 20 cents a day."),
    Document("校规.md", "学生每天早上八点到校。午休时间为一个小时。"),
]


@pytest.fixture
def knowledge(tmp_path):
    embedder = HashEmbedder()
    store = open_at(str(tmp_path / "kb.db"), width=embedder.width)
    index.add_documents(store, embedder, DOCUMENTS)
    opened = KnowledgeBase(store, embedder)
    yield opened
    opened.close()


def test_shares_of_right_citations_and_refusals(knowledge):
    questions = [
        Question("What does a ticket for the swimming pool cost?", frozenset(("pool.md",))),
        Question("How many books does the library lend?", frozenset(("library.md", "pool.md"))),
        Question("学生每天早上几点到校？", frozenset(("校规.md",))),
        Question("Who painted the ceiling of the chapel?", frozenset()),
        Question("When does the swimming pool open in the morning?", frozenset()),
    ]
    done = []
    values = evaluate_answers(knowledge, Extract(), questions, lambda *at: done.append(at[:2]))
    assert values == {
        "citation_precision": pytest.approx(4 / 5),  # two for the ticket; the last should not be answered
        "citation_recall": pytest.approx(3 / 4),
        "no_answer_right": pytest.approx(1 / 2),
        "no_answer_wrong": 0.0,
    }
    assert done[-1] == (5, 5)


def test_a_share_of_nothing_is_left_out(knowledge):
    values = evaluate_answers(knowledge, Extract(), [Question("Who painted the ceiling?", frozenset())])
    assert values == {"no_answer_right": 1.0}


def test_documents_of_another_knowledge_base_are_refused(knowledge):
    with pytest.raises(DataError, match=r"'other.md'.*ids must be the same"):
        evaluate_answers(knowledge, Extract(), [Question("What?", frozenset(("other.md",)))])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", "is empty"),
        ("not json", "line 1.*no question"),
        ('{"question": "a", "documents": []}\n{"question": "b"}', "line 2"),
        ('{"question": " ", "documents": []}', "has no text"),
        ('{"question": "a", "documents": "x.md"}', "no list of ids"),
        ('{"question": "a", "documents": [3]}', "no list of ids"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, lines, problem):
    path = tmp_path / "questions.jsonl"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_questions(path)
