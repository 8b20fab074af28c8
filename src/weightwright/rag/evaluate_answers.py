"""How well answers cite: precision and recall of citations, and how often "the documents do not say" is right."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightwright.data.grounded import no_answer
from weightwright.errors import DataError, Place
from weightwright.ports import Chat, Completion, Progress, silent
from weightwright.rag.analyze import terms
from weightwright.rag.answer import KnowledgeBase

_EXPECTED = (
    'expected {"question": ..., "documents": [ids that answer it; none where the documents do not say]}'
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the documents that answer it; none where the documents do not say."""

    text: str
    documents: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One answer: right citations, all citations, right documents cited, whether it says nothing."""

    right: int
    shown: int
    found: int
    refused: bool


def read_questions(path: Path) -> list[Question]:
    """Lines `{"question", "documents"}`; other fields are left alone. Raises DataError with the wrong line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 ({error.reason}); convert it") from error
    questions = [_question(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise DataError(path, f"is empty; {_EXPECTED}")
    return questions


def evaluate_answers(
    knowledge: KnowledgeBase, chat: Chat, questions: Sequence[Question], progress: Progress = silent
) -> dict[str, float]:
    """Ask every question and judge what the answers cite.

    `citation_precision`: citations of a document that answers the question, of all citations.
    `citation_recall`: documents that answer a question and are cited, of all such.
    `no_answer_right`: questions without an answer where the documents are said not to say.
    `no_answer_wrong`: questions with one where they are, too. A share of nothing is left out.
    Raises DataError where none of the documents is in the knowledge base.
    """
    wanted = frozenset[str]().union(*(question.documents for question in questions))
    if wanted and wanted.isdisjoint(info.id for info in knowledge.store.documents()):
        raise DataError(
            None,
            f"none of the {len(wanted)} documents that answer questions is in the knowledge base "
            f"(such as {min(wanted)!r}); document ids must be the same, see: weightwright kb list",
        )
    judged: list[_Judged] = []
    for done, question in enumerate(questions, 1):
        judged.append(_judged(knowledge, question, knowledge.answer(chat, question.text)))
        progress(done, len(questions))
    answerable = [one for one, question in zip(judged, questions, strict=True) if question.documents]
    others = [one for one, question in zip(judged, questions, strict=True) if not question.documents]
    shares = {
        "citation_precision": (sum(one.right for one in judged), sum(one.shown for one in judged)),
        "citation_recall": (sum(one.found for one in judged), sum(len(q.documents) for q in questions)),
        "no_answer_right": (sum(one.refused for one in others), len(others)),
        "no_answer_wrong": (sum(one.refused for one in answerable), len(answerable)),
    }
    return {name: part / whole for name, (part, whole) in shares.items() if whole}


def _judged(knowledge: KnowledgeBase, question: Question, completion: Completion) -> _Judged:
    cited = [citation.document for citation in completion.citations]
    said_nothing = terms(no_answer(knowledge.settings.prompt, question.text))
    return _Judged(
        right=sum(document in question.documents for document in cited),
        shown=len(cited),
        found=len(question.documents & set(cited)),
        refused=not completion.text.strip() or terms(completion.text) == said_nothing,
    )


def _question(path: Path, number: int, line: str) -> Question:
    place = Place(str(path), line=number)
    try:
        row = json.loads(line)
        text, documents = row["question"], row["documents"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(place, f"no question with its documents; {_EXPECTED}") from error
    if not isinstance(text, str) or not text.strip():
        raise DataError(place, f"the question has no text; {_EXPECTED}")
    if not isinstance(documents, list) or not all(isinstance(name, str) for name in documents):
        raise DataError(place, f"documents is {documents!r}, no list of ids; {_EXPECTED}")
    return Question(text, frozenset(documents))
