"""A message as a model's chat template gets it."""

import json
from typing import Any

from weightwright.errors import RequestError
from weightwright.ports import Message, ToolCall

# what the chat template is given by us, or what would put another in its place
OWN_OPTIONS = frozenset({
    "add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents", "max_length",
    "messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize",
    "tokenizer_kwargs", "tools", "truncation",
})  # fmt: skip

# what templates call a thought: most the first, LFM2.5 and gpt-oss the second
_THOUGHT_NAMES = ("reasoning_content", "thinking", "reasoning")


def turn(message: Message, *, arguments_as_text: bool = False, in_parts: bool = False) -> dict[str, Any]:
    """A message as chat templates expect it: what it does not carry is left out.

    A call's arguments are an object for most templates, text for some (DeepSeek-R1's). Templates of some models that
    see want contents `in_parts`. Raises RequestError for arguments that are no JSON object.
    """
    content = [{"type": "text", "text": message.content}] if in_parts else message.content
    values: dict[str, Any] = {"role": message.role, "content": content}
    if message.name:
        values["name"] = message.name
    if message.reasoning:
        values |= dict.fromkeys(_THOUGHT_NAMES, message.reasoning)
    if message.tool_calls:
        values["tool_calls"] = [_call(call, arguments_as_text) for call in message.tool_calls]
    if message.tool_call_id:
        values["tool_call_id"] = message.tool_call_id
    return values


def call_arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call as an object. Raises RequestError where they are none."""
    try:
        arguments = json.loads(call.arguments) if call.arguments.strip() else {}
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise RequestError(
            f"the arguments of the call of {call.name!r} must be a JSON object, found {call.arguments!r}"
        )
    return arguments


def _call(call: ToolCall, as_text: bool) -> dict[str, Any]:
    arguments = call_arguments(call)
    given = json.dumps(arguments, ensure_ascii=False) if as_text else arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": given}}
