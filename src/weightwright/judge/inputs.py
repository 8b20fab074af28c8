"""Rows to judge: a question, an answer and what was expected, one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from weightwright.errors import DataError, Place


class Row(BaseModel):
    """One answer to judge. Keys that are not named here are kept aside and not used."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field("", coerce_numbers_to_str=True)
    question: str
    answer: str | None = Field(None, description="None: the model failed to answer")
    references: tuple[str, ...]
    documents: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _gather_references(cls, values: Any) -> Any:
        """`reference`, `references` and `answers` (more accepted ones) are all references."""
        if not isinstance(values, dict):
            return values
        found: list[Any] = []
        for key in ("reference", "references", "answers"):
            given = values.get(key)
            found += given if isinstance(given, list | tuple) else [given] if given else []
        rest = {k: v for k, v in values.items() if k not in ("reference", "answers")}
        return {**rest, "references": tuple(dict.fromkeys(found))} if found else rest


def read_rows(file: Path) -> list[Row]:
    """All rows of a JSONL file. Raises DataError with the line number, what is wrong and what is expected."""
    rows = []
    for number, values in json_lines(file):
        if "id" not in values:
            values["id"] = str(number)
        try:
            rows.append(Row.model_validate(values))
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
            values = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(place, f"not valid JSON: {error}") from error
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
        missing = problem["type"] == "missing"
        phrases.append(f"{key} is missing" if missing else f"{key}={problem['input']!r}: {problem['msg']}")
    return "; ".join(phrases)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(file, f"is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror or error}") from error
