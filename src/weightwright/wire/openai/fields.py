"""The parts of OpenAI's requests: messages, prompts, and the form that an answer must have."""

from typing import Annotated, Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from weightwright.ports import Message, Role, StructuredOutputs


def _listed(value: Any) -> Any:
    """One text is a list of one."""
    return [value] if isinstance(value, str) else value


def _parts(content: Any) -> Any:
    """A message's text as its only part."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") not in (None, "text"):
            raise ValueError(
                f"a content part of type {part['type']!r} cannot be read; send parts of type 'text'"
            )
    return content


def _prompts(value: Any) -> Any:
    """The four shapes of a prompt as one: a list of texts and token lists."""
    if isinstance(value, str) or _is_tokens(value):
        return [value]
    if isinstance(value, list) and value and all(isinstance(one, str) or _is_tokens(one) for one in value):
        return value
    raise ValueError(
        "prompt must be a text, a list of texts, a list of token ids or a list of such lists, and not empty; "
        f"got {value!r:.60}"
    )


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


Listed = Annotated[list[str] | None, BeforeValidator(_listed)]
Prompts = Annotated[list[str | list[int]], BeforeValidator(_prompts)]


class JsonSchema(BaseModel):
    """`response_format.json_schema`; answers are always held to it, so `strict` changes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """`response_format`: the form that OpenAI's API lets an answer have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class TextPart(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[list[TextPart], BeforeValidator(_parts)] = []

    def message(self) -> Message:
        """The message in our own words: `developer` is OpenAI's newer name of `system`."""
        role: Role = "system" if self.role == "developer" else self.role
        return Message(role, "".join(part.text for part in self.content))


def refusal(field: str, message: str) -> RequestValidationError:
    """The error of a field whose value cannot be taken."""
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])
