"""The questions of a comparison, one JSON object a line."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from weightwright.errors import DataError, Place
from weightwright.judge.inputs import Line, explain_row, json_lines


class Question(Line):
    """A question and what is expected; `documents` name where the answer stands (none: nowhere)."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    reference: str = Field(min_length=1)
    answers: tuple[str, ...] = ()
    kind: str = ""

    @model_validator(mode="before")
    @classmethod
    def _first_answer_is_the_reference(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("reference") in (None, "") and values.get("answers"):
            return {**values, "reference": values["answers"][0]}
        return values

    @property
    def references(self) -> tuple[str, ...]:
        """All accepted answers, the reference first."""
        return tuple(dict.fromkeys((self.reference, *self.answers)))


def read_questions(file: Path, limit: int | None = None) -> tuple[Question, ...]:
    """The questions of a file, at most `limit`. Raises DataError with line, fault and remedy."""
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, values in json_lines(file):
        try:
            question = Question.model_validate(
                values if values.get("id") is not None else values | {"id": number}
            )
        except ValidationError as error:
            raise DataError(Place(str(file), line=number), explain_row(error)) from error
        if question.id in seen:
            raise DataError(
                Place(str(file), line=number),
                f"id {question.id!r} stands on line {seen[question.id]} too; make it unique",
            )
        seen[question.id] = number
        questions.append(question)
    return tuple(questions[:limit])
