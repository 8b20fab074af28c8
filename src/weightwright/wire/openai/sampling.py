"""How an answer is sampled and which form it has, both ways. What is sampled is listed in SamplingParams alone."""

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from weightwright.ports import SamplingParams, StructuredOutputs
from weightwright.wire.reading import FieldError, Shape, explained

_ALWAYS = ("max_tokens", "temperature", "top_p", "n", "seed")  # sent always: defaults differ between servers
_OPENAI = frozenset({*_ALWAYS, "presence_penalty", "frequency_penalty", "logit_bias", "stop"})
_OWN_WAYS = frozenset({"logprobs", "structured_outputs", "best_of"})  # the two routes differ in these
BEYOND_OPENAI = frozenset(SamplingParams.model_fields) - _OPENAI - {"logprobs", "best_of"}


class JsonSchema(Shape):
    """`response_format.json_schema`; answers are always held to it, so `strict` changes nothing."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Shape):
    """`response_format`: the form that OpenAI's API lets an answer have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError(
                "response_format takes json_schema with type 'json_schema', and with that alone; "
                f"got type {self.type!r} {'with' if self.json_schema else 'without'} json_schema"
            )
        return self

    @property
    def form(self) -> StructuredOutputs | None:
        """The same in vLLM's words; None for plain text."""
        if self.json_schema is not None:
            return StructuredOutputs(json=self.json_schema.schema_)
        return StructuredOutputs(json_object=True) if self.type == "json_object" else None


class Form(Shape):
    """The form that an answer must have, by whichever of its names it is given."""

    structured_outputs: dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None

    def form(self) -> StructuredOutputs | None:
        """The one that is given. Raises FieldError for two, or for one that is wrong."""
        given = {f"guided_{kind}": self._guided(kind) for kind in ("json", "regex", "choice", "grammar")}
        if self.response_format is not None:
            given["response_format"] = self.response_format.form
        if self.structured_outputs is not None:
            given["structured_outputs"] = _form(self.structured_outputs)
        forms = {name: form for name, form in given.items() if form is not None}
        if len(forms) > 1:
            raise FieldError(f"{' and '.join(forms)} exclude each other; give one of them", next(iter(forms)))
        return next(iter(forms.values()), None)

    def _guided(self, kind: str) -> StructuredOutputs | None:
        """The form by vLLM's older name of it."""
        name = f"guided_{kind}"
        value = getattr(self, name)
        try:
            return None if value is None else StructuredOutputs(**{kind: value})
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise FieldError(f"{name}: {message}", name) from error


def _form(values: Mapping[str, Any]) -> StructuredOutputs:
    try:
        return StructuredOutputs(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise explained(error, "structured_outputs") from error


def read_sampling(given: Mapping[str, Any], defaults: SamplingParams) -> SamplingParams:
    """What is asked for; `defaults` stand where nothing is. Raises FieldError naming the field."""
    beams = {"temperature": 0} if given.get("use_beam_search") else {}
    try:
        return SamplingParams(**{**defaults.model_dump(exclude_unset=True), **beams, **given})
    except ValidationError as error:
        raise explained(error) from error


def write_sampling(params: SamplingParams, *, chats: bool) -> dict[str, Any]:
    """The fields that say it: some always, the others where they differ from their defaults."""
    values = {name: getattr(params, name) for name in _ALWAYS if getattr(params, name) is not None}
    for name, field in type(params).model_fields.items():
        if name not in _OWN_WAYS and name not in values and getattr(params, name) != field.default:
            values[name] = getattr(params, name)
    if params.logprobs is not None:
        own = {"logprobs": True, "top_logprobs": params.logprobs}
        values |= own if chats else {"logprobs": params.logprobs}
    if params.best_of not in (None, params.n):
        values["best_of"] = params.best_of
    return values | _written_form(params.structured_outputs, chats)


def _written_form(wanted: StructuredOutputs | None, chats: bool) -> dict[str, Any]:
    """OpenAI's name for what it has, vLLM's for the rest."""
    if wanted is None:
        return {}
    (kind,) = wanted.given
    if not chats or wanted.disable_any_whitespace or kind not in ("json", "json_object"):
        value = getattr(wanted, kind)
        spaces = {"disable_any_whitespace": True} if wanted.disable_any_whitespace else {}
        return {"structured_outputs": {kind: list(value) if kind == "choice" else value, **spaces}}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    schema = json.loads(wanted.json) if isinstance(wanted.json, str) else wanted.json
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
