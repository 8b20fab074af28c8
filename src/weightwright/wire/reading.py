"""JSON to a request: null is absent, and what is wrong is said with its field, its limit and its value."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from weightwright.errors import RequestError

_SHOWN_CHARACTERS = 60  # of a wrong value
_SEND = "send a JSON object, with Content-Type: application/json"


class FieldError(RequestError):
    """A request that cannot be read; `param` is the field that is wrong, None for the request as a whole."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Shape(BaseModel):
    """A JSON object: a field that it does not have is refused by name, null counts as absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if None not in values.values():
            return values
        needed = {field.alias or name for name, field in cls.model_fields.items() if field.is_required()}
        return {name: value for name, value in values.items() if value is not None or name in needed}


S = TypeVar("S", bound=Shape)


def read(shape: type[S], body: bytes) -> S:
    """The request in a body, whatever its Content-Type says. Raises FieldError."""
    try:
        values = json.loads(body)
    except json.JSONDecodeError as error:
        raise FieldError(f"the body is not JSON: {error.msg} at character {error.pos}; {_SEND}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, too deep
        raise FieldError(f"the body is not JSON: {error}; {_SEND}") from error
    if not isinstance(values, dict):
        raise FieldError("the body is not a JSON object; send one, with Content-Type: application/json")
    return parsed(shape, values)


def parsed(shape: type[S], values: Any) -> S:
    """A request from JSON that is read already. Raises FieldError."""
    try:
        json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise FieldError(
            f"the request holds {half!r}, half of a surrogate pair; send the whole character"
        ) from error
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise explained(error) from error


def explained(error: ValidationError, at: str = "") -> FieldError:
    """Every problem of a request named; `at` is the field that holds what was read."""
    problems = error.errors()
    paths = [".".join(filter(None, (at, _path(problem)))) for problem in problems]
    message = "; ".join(_said(problem, path) for problem, path in zip(problems, paths, strict=True))
    return FieldError(message, next(filter(None, paths), None))


def _path(problem: ErrorDetails) -> str:
    """The field, without pydantic's marks for keys and for the branches of a union."""
    return ".".join(str(part) for part in problem["loc"] if "[" not in str(part))


def _said(problem: ErrorDetails, path: str) -> str:
    """One problem with its field, its limit and its value."""
    message = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    match problem["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{path} is not supported; check its name or leave it out"
        case "value_error":  # our own words
            return message if path in message else f"{path}: {message}"
        case "missing":
            return f"{path}: {message}"
        case "model_type":  # which names our own class
            message = "Input should be a JSON object"
    given = problem["input"]
    shown = repr(given if len(str(given)) <= _SHOWN_CHARACTERS else f"{str(given)[:_SHOWN_CHARACTERS]}…")
    return f"{path}: {message} (got {shown})" if path else f"{message} (got {shown})"


def schema(shape: type[Shape], *others: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a request that also takes the fields of `others`, in one piece without references."""
    found = [model.model_json_schema() for model in (*others, shape)]
    named = {name: inner for one in found for name, inner in one.pop("$defs", {}).items()}
    fields = {name: field for one in found for name, field in one["properties"].items()}

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(named[value["$ref"].rpartition("/")[2]])
        return {key: inlined(inner) for key, inner in value.items()}

    return dict(inlined(found[-1] | {"properties": fields}))
