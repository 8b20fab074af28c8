"""Rows to judge: a question, an answer and what was expected, one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from weightwright.errors import DataError, Place


class Line(BaseModel):
    """What rows to judge and questions to ask have in common. Numbers are read as texts; other keys are not used."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    id: str = ""
    question: str
    documents: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent_and_one_document_a_list(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = {key: value for key, value in values.items() if value is not None or key == "answer"}
        named = given.get("documents")
        return given | {"documents": (named,)} if isinstance(named, str) else given


class AnswerRow(Line):
    """One answer to judge."""

    answer: str | None = Field(description="null: the model failed to answer")
    references: tuple[str, ...]

    @model_validator(mode="before")
    @classmethod
    def _gather_references(cls, values: Any) -> Any:
        """`reference`, `references` and `answers` (more accepted ones) are all references."""
        if not isinstance(values, dict):
            return values
        given: list[Any] = []
        for key in ("reference", "references", "answers"):
            value = values.get(key)
            given += value if isinstance(value, list | tuple) else [value]
        known = [value for value in given if value is not None and value != ""]
        rest = {k: v for k, v in values.items() if k not in ("reference", "references", "answers")}
        return {**rest, "references": tuple(known)} if known else rest


def read_rows(file: Path) -> list[AnswerRow]:
    """All rows of a JSONL file. Raises DataError with the line number, what is wrong and what is expected."""
    rows = []
    for number, values in json_lines(file):
        if values.get("id") is None:
            values["id"] = str(number)
        try:
            rows.append(AnswerRow.model_validate(values))
        except ValidationError as error:
            raise DataError(Place(str(file), line=number), explain_row(error)) from error
    return rows


def json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line that is not blank. Raises DataError; also when there is none."""
    empty = True
    for number, line in enumerate(_text(file).split("\n"), 1):
        if not line.strip():
            continue
        place = Place(str(file), line=number)
        try:
            values = json.loads(line, parse_constant=lambda _: None)  # NaN, as tables write what is absent
        except json.JSONDecodeError as error:
            raise DataError(place, f"not valid JSON at character {error.pos + 1} ({error.msg})") from error
        except RecursionError as error:
            raise DataError(place, "nested too deeply for JSON to be read") from error
        if not isinstance(values, dict):
            raise DataError(place, f"expected an object {{...}}, found {type(values).__name__}")
        empty = False
        yield number, values
    if empty:
        raise DataError(file, "holds no rows; expected one JSON object a line")


def explain_row(error: ValidationError) -> str:
    """What is wrong with a row, one phrase a problem."""
    phrases = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].replace("tuple", "list")
        phrases.append(
            f"{key} is missing" if problem["type"] == "missing" else f"{key}={problem['input']!r}: {what}"
        )
    return "; ".join(phrases)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(file, f"is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror or error}") from error
