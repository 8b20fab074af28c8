"""OpenAI's message, both ways; `reasoning` and `reasoning_content` are the names that servers give to a thought."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from weightwright.ports import Message, Role, ToolCall
from weightwright.wire.reading import Shape, parsed

_OF_ROLE: dict[str, Role] = {
    "tool_calls": "assistant",
    "reasoning": "assistant",
    "reasoning_content": "assistant",
    "tool_call_id": "tool",
}


def _parts(content: Any) -> Any:
    """A message's text as its only part."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") not in (None, "text"):
            raise ValueError(
                f"a content part of type {part['type']!r} cannot be read; send parts of type 'text'"
            )
    return content


def _as_text(arguments: Any) -> Any:
    """Some clients send a call's arguments as an object."""
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else arguments


class TextPart(Shape):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class Function(Shape):
    """The function that is called, and with what."""

    name: str
    arguments: Annotated[str, BeforeValidator(_as_text)] = ""


class Call(Shape):
    """One of an assistant's `tool_calls`; `index` is its place in a streamed message."""

    id: str = ""
    type: Literal["function"] = "function"
    function: Function
    index: int = 0


class Turn(Shape):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[tuple[TextPart, ...], BeforeValidator(_parts)] = ()
    name: str = ""
    tool_calls: tuple[Call, ...] = ()
    tool_call_id: str = ""
    reasoning: str = ""
    reasoning_content: str = ""
    annotations: tuple[Any, ...] = Field((), max_length=0)

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        for field, role in _OF_ROLE.items():
            if getattr(self, field) and self.role != role:
                raise ValueError(f"{field} belongs to the role {role!r}, this is {self.role!r}; leave it out")
        if not (self.content or self.tool_calls or self.reasoning or self.reasoning_content):
            raise ValueError(f"a message of the role {self.role!r} needs content; give it a text")
        return self

    def message(self) -> Message:
        """The message in our own words: `developer` is OpenAI's newer name of `system`."""
        return Message(
            role="system" if self.role == "developer" else self.role,
            content="".join(part.text for part in self.content),
            tool_calls=tuple(ToolCall(c.function.name, c.function.arguments, c.id) for c in self.tool_calls),
            tool_call_id=self.tool_call_id,
            reasoning=self.reasoning_content or self.reasoning,
            name=self.name,
        )


class _Conversation(Shape):
    messages: list[Turn] = Field(min_length=1)


def read_messages(turns: Sequence[Mapping[str, Any] | Message]) -> tuple[Message, ...]:
    """A conversation of OpenAI's messages, or of ours. Raises FieldError naming the message and its field."""
    values = [write_message(turn) if isinstance(turn, Message) else turn for turn in turns]
    return tuple(turn.message() for turn in parsed(_Conversation, {"messages": values}).messages)


def write_message(message: Message) -> dict[str, Any]:
    """A message in OpenAI's JSON; what it does not carry is left out."""
    values: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        values["name"] = message.name
    values |= thought(message.reasoning)
    if message.tool_calls:
        values["content"] = message.content or None
        values["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        values["tool_call_id"] = message.tool_call_id
    return values


def thought(reasoning: str) -> dict[str, str]:
    """A thought under both names that clients look for: DeepSeek's, and that of newer vLLM."""
    return {"reasoning_content": reasoning, "reasoning": reasoning} if reasoning else {}


def read_thought(values: Mapping[str, Any]) -> str:
    """The thought of a message or a delta, by either name."""
    return values.get("reasoning_content") or values.get("reasoning") or ""
