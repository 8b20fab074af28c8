"""Many questions under way at once, and answers that are kept: asked by hash, kept by hash, resumed."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from weightwright.asking.answers import Answers, digest
from weightwright.asking.ask import Asked, ask, ask_and_keep
from weightwright.errors import RemoteError, RequestError, StoreError
from weightwright.ports import Piece, Reply, Usage


@dataclass(frozen=True)
class Grade:
    """What a grader, say, would keep."""

    score: int
    reasons: tuple[str, ...] = ()
    spans: tuple[dict[str, Any], ...] = ()


def asked_for(n: int) -> dict[str, str]:
    return {digest(["grader", f"q{i}?"]): f"q{i}?" for i in range(n)}


# -- keys


def test_a_key_is_the_same_for_the_same_and_another_for_another() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert len({digest(v) for v in ([1], ["1"], [1, None], {"1": None}, "天", "\ud83d")}) == 6


# -- kept answers


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    grade = Grade(3, ("half \ud83d", "天"), ({"n": 1},))
    with Answers(tmp_path / "answers.db", Grade) as answers:
        answers.keep("k", grade, arm="grader", question="q\ud800")
        answers.keep_peak("grader", "s", 5)
        answers.keep_peak("grader", "s", 3)
        answers.keep_peak("grader", "s", None)
    with Answers(tmp_path / "answers.db", Grade) as answers:
        assert answers.finished(["k", "other"]) == {"k": grade}
        assert answers.peak("grader", "s") == 5
        assert answers.peak("grader", "t") is None


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.db").write_text("no database" * 100, encoding="utf-8")
    with pytest.raises(StoreError, match="move the file away"):
        Answers(tmp_path / "answers.db", Grade)


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="out is a file; give a folder"):
        Answers(tmp_path / "out" / "answers.db", Grade)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        Answers(tmp_path / "answers.db", Grade),
        pytest.raises(StoreError, match="in use by another process"),
    ):
        Answers(tmp_path / "answers.db", Grade)


# -- asking


class Scripted:
    """Replies that end when told to."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.cancelled: list[int] = []

    def __call__(self, question: str) -> Reply:
        number = len(self.replies)
        self.replies.append(Reply(1, lambda: self.cancelled.append(number)))
        return self.replies[-1]

    def end(self, number: int, text: str) -> None:
        self.replies[number].push(Piece(0, text, finish_reason="stop"))
        self.replies[number].finish(Usage(1, 1))


def answering(question: str) -> Reply:
    reply = Reply()
    reply.push(Piece(0, question.upper(), finish_reason="stop"))
    reply.finish(Usage(1, 1))
    return reply


def failing(error: Exception) -> Any:
    def start(question: str) -> Reply:
        reply = Reply()
        reply.fail(error)
        return reply

    return start


def test_so_many_are_under_way_and_answers_come_as_they_end() -> None:
    scripted, order, shares = Scripted(), [], []

    def start(question: str) -> Reply:
        reply = scripted(question)
        assert len(scripted.replies) - len(order) <= 3
        if len(scripted.replies) == 3:
            for number in (1, 0, 2):
                scripted.end(number, f"a{number}")
        elif len(scripted.replies) > 3:
            scripted.end(len(scripted.replies) - 1, "late")
        return reply

    def ended(asked: Asked[str]) -> None:
        order.append(asked.question)
        shares.append(asked.seconds)
        assert asked.key == digest(["grader", asked.question])
        assert asked.latency_s >= 0

    ask(asked_for(5), start, ended, concurrency=3)
    assert order[:3] == ["q1?", "q0?", "q2?"]
    assert sorted(order) == ["q0?", "q1?", "q2?", "q3?", "q4?"]
    assert all(share >= 0 for share in shares)


def test_an_interruption_cancels_what_is_under_way() -> None:
    scripted = Scripted()

    def start(question: str) -> Reply:
        if len(scripted.replies) == 2:
            raise KeyboardInterrupt
        return scripted(question)

    with pytest.raises(KeyboardInterrupt):
        ask(asked_for(5), start, lambda asked: None, concurrency=3)
    assert scripted.cancelled == [0, 1]


@pytest.mark.parametrize(
    "error", [RequestError("too long"), *(RemoteError("too long", status) for status in (400, 413, 422, 500))]
)
def test_requests_that_fail_never_stop_a_run(error: Exception) -> None:
    seen: list[Any] = []
    ask(asked_for(12), failing(error), seen.append, concurrency=2)
    assert [asked.error for asked in seen] == [error] * 12


@pytest.mark.parametrize("status", [None, 401, 403, 404, 429, 502, 503, 504])
def test_a_server_that_is_gone_or_closed_to_us_does(status: int | None) -> None:
    seen: list[Any] = []
    with pytest.raises(RemoteError, match="gone"):
        ask(asked_for(12), failing(RemoteError("gone", status)), seen.append, concurrency=2)
    assert len(seen) == 4


def test_few_questions_are_enough_to_see_that_nobody_is_there() -> None:
    with pytest.raises(RemoteError, match="gone"):
        ask(asked_for(3), failing(RemoteError("gone")), lambda asked: None, concurrency=3)


# -- both


def graded(
    answers: Answers[Grade],
    questions: Mapping[str, str],
    start: Any,
    progress: Any = lambda done, total: None,
) -> dict[str, Grade]:
    def grade_of(asked: Asked[str]) -> Grade:
        return Grade(0 if asked.error else len(asked.reply.result().text), (str(asked.error),))

    kept = answers.finished(questions)
    missing = {key: question for key, question in questions.items() if key not in kept}
    return kept | ask_and_keep(
        missing, start, grade_of, answers, arm="grader", label=str.upper, concurrency=2, progress=progress
    )


def test_what_was_finished_before_an_interruption_is_not_asked_again(tmp_path: Path) -> None:
    questions, calls = asked_for(6), []

    def start(question: str) -> Reply:
        calls.append(question)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return answering(question)

    with Answers(tmp_path / "a.db", Grade) as answers, pytest.raises(KeyboardInterrupt):
        graded(answers, questions, start)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        before = {row[0] for row in connection.execute("SELECT question FROM answers WHERE arm = 'grader'")}
    assert before >= {"Q0?"}
    calls.clear()
    with Answers(tmp_path / "a.db", Grade) as answers:
        calls.extend("....")  # so that no fourth one interrupts
        assert graded(answers, questions, start) == dict.fromkeys(questions, Grade(3, ("None",)))
    assert set(calls[4:]) == {q for q in questions.values() if q.upper() not in before}


def test_what_failed_is_not_kept_and_is_asked_again(tmp_path: Path) -> None:
    questions, told = asked_for(3), []
    with Answers(tmp_path / "a.db", Grade) as answers:
        first = graded(answers, questions, failing(RequestError("too long")), lambda *at: told.append(at))
        assert first == dict.fromkeys(questions, Grade(0, ("too long",)))
        assert told == [(1, 3), (2, 3), (3, 3)]
        assert answers.finished(questions) == {}
        assert graded(answers, questions, answering) == dict.fromkeys(questions, Grade(3, ("None",)))
