"""A ChatRequest in OpenAI's JSON, and which of its fields a server would pass over without a word."""

from collections.abc import Mapping
from typing import Any

from weightwright.errors import RequestError
from weightwright.ports import ChatRequest
from weightwright.wire.openai.messages import write_message
from weightwright.wire.openai.sampling import BEYOND_OPENAI, write_sampling

# beside those of SamplingParams
_MORE_BEYOND = frozenset({
    "priority", "chat_template_kwargs", "add_generation_prompt", "continue_final_message", "return_token_ids"
})  # fmt: skip
# Servers that pass over what they do not know without a word, by the `owned_by` of their models, and what
# of ours they do not know. Others get everything, and their own refusal is passed on.
_BEAMS = ("use_beam_search", "length_penalty", "early_stopping")
_VLLM_ONLY = (
    "bad_words", "allowed_token_ids", "stop_token_ids", "min_tokens", "skip_special_tokens",
    "include_stop_str_in_output", "prompt_logprobs", "priority", "structured_outputs", "repetition_penalty",
    "add_generation_prompt", "continue_final_message",
)  # fmt: skip
_IGNORED_BY: Mapping[str, frozenset[str]] = {
    "vllm": frozenset({"best_of", "early_stopping"}),
    "llamacpp": frozenset({"best_of", *_BEAMS, *_VLLM_ONLY}),
    "library": frozenset(  # Ollama
        {"best_of", *_BEAMS, *_VLLM_ONLY, "n", "logit_bias", "top_k", "min_p", "ignore_eos", "chat_template_kwargs"}
    ),
}  # fmt: skip
_GIVE_TOKEN_IDS = frozenset({"weightwright", "vllm"})


def write_request(request: ChatRequest, name: str) -> tuple[str, dict[str, Any]]:
    """The path below /v1 and the body; `name` is the model's, unless the request names an adapter.

    Raises RequestError for what the route cannot say.
    """
    params, chats = request.params, request.messages is not None
    fields: dict[str, Any] = {"model": request.adapter or name, **write_sampling(params, chats=chats)}
    if request.priority:
        fields["priority"] = request.priority
    if params.prompt_logprobs is None:  # they cannot be streamed
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.messages is not None:
        return "/chat/completions", fields | _conversation(request)
    if params.max_tokens is None:
        raise RequestError(
            "max_tokens=None cannot be said to /v1/completions, whose servers stop after 16 tokens then; "
            "give a number"
        )
    fields["prompt"] = request.prompt if request.prompt is not None else list(request.prompt_token_ids or ())
    return "/completions", fields


def _conversation(request: ChatRequest) -> dict[str, Any]:
    """What a chat has that a completion has not."""
    fields: dict[str, Any] = {"messages": [write_message(message) for message in request.messages or ()]}
    if request.template_options:
        fields["chat_template_kwargs"] = dict(request.template_options)
    if request.tools:  # calls stay in the text
        fields |= {"tools": [dict(tool) for tool in request.tools], "tool_choice": "none"}
    if not request.add_generation_prompt:
        fields["add_generation_prompt"] = False
    if request.continue_final_message:
        fields["continue_final_message"] = True
    return fields


def beyond_openai(fields: Mapping[str, Any]) -> list[str]:
    """Names of the fields that OpenAI's own API does not have."""
    names = BEYOND_OPENAI | _MORE_BEYOND | ({"best_of"} if "messages" in fields else set())
    return [name for name in fields if name in names]


def depends_on_owner(fields: Mapping[str, Any]) -> bool:
    """Whether what is sent, or may be sent, depends on whose server it is."""
    explained = {"logprobs", "prompt_logprobs"} & set(fields)  # which have token ids in them
    return bool(explained) or any(_ignored(fields, owner) for owner in _IGNORED_BY)


def fields_for(fields: Mapping[str, Any], owner: str, url: str) -> dict[str, Any]:
    """The fields for the server of `owner`'s models, which is asked for token ids where it has them.

    Raises RequestError naming those that the server would pass over.
    """
    ignored = _ignored(fields, owner)
    if ignored:
        names = ", ".join(ignored)
        raise RequestError(
            f"{url} ({owner}) takes no {names}; leave out {names}, or use a model in this process"
        )
    return dict(fields) | ({"return_token_ids": True} if owner in _GIVE_TOKEN_IDS else {})


def _ignored(fields: Mapping[str, Any], owner: str) -> list[str]:
    return [
        name for name in fields if name in _IGNORED_BY.get(owner, ()) and (name != "n" or fields["n"] > 1)
    ]
