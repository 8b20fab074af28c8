"""A ChatRequest in OpenAI's JSON, with vLLM's fields beyond it, and what servers answer as pieces."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, FinishReason, Piece, SamplingParams, TokenLogprob, Usage

UNKNOWN_TOKEN = -1  # OpenAI's log-probabilities carry texts, not ids

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_ALWAYS = ("max_tokens", "temperature", "top_p", "n", "seed")  # their defaults differ between servers
_OPENAI = ("presence_penalty", "frequency_penalty", "logit_bias", "stop")
_TRANSLATED = ("logprobs", "structured_outputs", "best_of")  # `_translated` says how
_BEYOND_OPENAI = tuple(
    name for name in SamplingParams.model_fields if name not in (*_ALWAYS, *_OPENAI, *_TRANSLATED)
)

# Servers that pass over what they do not know without a word, by the `owned_by` of their models, and what
# of ours they do not know. Others get everything, and their own refusal is passed on.
_BEAMS = ("use_beam_search", "length_penalty", "early_stopping")
_VLLM_ONLY = (
    "bad_words", "allowed_token_ids", "stop_token_ids", "min_tokens", "skip_special_tokens",
    "include_stop_str_in_output", "prompt_logprobs", "priority", "structured_outputs", "repetition_penalty",
)  # fmt: skip
_IGNORED_BY: Mapping[str, frozenset[str]] = {
    "vllm": frozenset({"best_of", "early_stopping"}),
    "llamacpp": frozenset({"best_of", *_BEAMS, *_VLLM_ONLY}),
    "library": frozenset(  # Ollama
        {"best_of", *_BEAMS, *_VLLM_ONLY, "n", "logit_bias", "top_k", "min_p", "ignore_eos", "chat_template_kwargs"}
    ),
}  # fmt: skip


def body(request: ChatRequest, name: str) -> tuple[str, dict[str, Any]]:
    """The path below /v1 and the JSON to send; a field is sent where it is set, or servers differ."""
    params = request.params
    fields: dict[str, Any] = {"model": request.adapter or name}
    fields |= {key: getattr(params, key) for key in _ALWAYS if getattr(params, key) is not None}
    fields |= _set(params, (*_OPENAI, *_BEYOND_OPENAI))
    fields |= _translated(request)
    if request.priority:
        fields["priority"] = request.priority
    if params.prompt_logprobs is None:  # they cannot be streamed
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.messages is not None:
        fields["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
        if request.template_options:
            fields["chat_template_kwargs"] = dict(request.template_options)
        return "/chat/completions", fields
    fields["prompt"] = request.prompt if request.prompt is not None else list(request.prompt_token_ids or ())
    return "/completions", fields


def beyond_openai(request: ChatRequest, fields: Mapping[str, Any]) -> list[str]:
    """Names of the fields that OpenAI's own API does not have."""
    names = {*_BEYOND_OPENAI, "priority", "chat_template_kwargs", "structured_outputs"}
    if request.messages is not None:
        names.add("best_of")
    return [name for name in fields if name in names]


def may_be_ignored(fields: Mapping[str, Any]) -> bool:
    """Whether there is a server that would pass over one of the fields without a word."""
    return any(_ignored(fields, owner) for owner in _IGNORED_BY)


def check_taken(fields: Mapping[str, Any], owner: str, url: str) -> None:
    """Raise RequestError naming the fields that the server of `owner`'s models would pass over."""
    ignored = _ignored(fields, owner)
    if ignored:
        names = ", ".join(ignored)
        raise RequestError(
            f"{url} ({owner}) takes no {names}; leave out {names}, or use a model in this process"
        )


def _ignored(fields: Mapping[str, Any], owner: str) -> list[str]:
    return [
        name for name in fields if name in _IGNORED_BY.get(owner, ()) and (name != "n" or fields["n"] > 1)
    ]


def _set(params: SamplingParams, names: tuple[str, ...]) -> dict[str, Any]:
    """Fields that differ from their defaults."""
    fields = type(params).model_fields
    return {name: value for name in names if (value := getattr(params, name)) != fields[name].default}


def _translated(request: ChatRequest) -> dict[str, Any]:
    """What the two routes name differently."""
    params, chats = request.params, request.messages is not None
    fields: dict[str, Any] = {}
    if params.logprobs is not None:
        fields = (
            {"logprobs": True, "top_logprobs": params.logprobs} if chats else {"logprobs": params.logprobs}
        )
    if params.best_of not in (None, params.n):
        fields["best_of"] = params.best_of
    wanted = params.structured_outputs
    if wanted is None:
        return fields
    (kind,) = wanted.given
    if not chats or wanted.disable_any_whitespace or kind not in ("json", "json_object"):
        value = getattr(wanted, kind)
        spaces = {"disable_any_whitespace": True} if wanted.disable_any_whitespace else {}
        return fields | {"structured_outputs": {kind: list(value) if kind == "choice" else value, **spaces}}
    if kind == "json_object":
        return fields | {"response_format": {"type": "json_object"}}
    schema = json.loads(wanted.json) if isinstance(wanted.json, str) else wanted.json
    named = {"name": "answer", "schema": schema, "strict": True}
    return fields | {"response_format": {"type": "json_schema", "json_schema": named}}


# --- what comes back ------------------------------------------------------------------------------


def piece(choice: Mapping[str, Any]) -> Piece:
    """A choice, streamed or whole, of either route."""
    said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
    reason = choice.get("finish_reason")
    return Piece(
        choice.get("index", 0),
        said.get("content") or "",
        logprobs=_logprobs(choice.get("logprobs") or {}),
        finish_reason=_FINISH.get(reason, "stop") if reason else None,
        reasoning=said.get("reasoning_content") or said.get("reasoning") or "",
        stop_reason=choice.get("stop_reason"),
    )


def usage(event: Mapping[str, Any]) -> Usage | None:
    """The tokens counted, where the event says so."""
    counted = event.get("usage")
    if not counted:
        return None
    details = counted.get("prompt_tokens_details") or {}
    return Usage(
        counted["prompt_tokens"], counted.get("completion_tokens") or 0, details.get("cached_tokens") or 0
    )


def prompt_logprobs(answer: Mapping[str, Any], count: int) -> tuple[TokenLogprob | None, ...] | None:
    """The `prompt_logprobs` that vLLM gives with chats beside the choices, with completions in each."""
    found = answer.get("prompt_logprobs") or answer["choices"][0].get("prompt_logprobs")
    return None if found is None else tuple(_prompt_token(one, count) if one else None for one in found)


def _prompt_token(by_id: Mapping[str, Any], count: int) -> TokenLogprob:
    """The prompt's own token comes first, and once more by its rank if it is among the likeliest."""
    every = [(int(token), str(one["decoded_token"]), one["logprob"]) for token, one in by_id.items()]
    likeliest = sorted(every, key=lambda one: -one[2])[:count]
    return TokenLogprob(*every[0], tuple(likeliest), next(iter(by_id.values()))["rank"])


def _logprobs(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    if "content" in found:  # a chat's
        return tuple(
            _token(
                one["token"],
                one["logprob"],
                [(top["token"], top["logprob"]) for top in one.get("top_logprobs") or ()],
            )
            for one in found["content"] or ()
        )
    texts = found.get("tokens") or ()
    tops = found.get("top_logprobs") or [None] * len(texts)
    return tuple(
        _token(text, logprob, sorted((top or {}).items(), key=lambda one: -one[1]))
        for text, logprob, top in zip(texts, found.get("token_logprobs") or (), tops, strict=True)
    )


def _token(text: str, logprob: float, top: Sequence[tuple[str, float]]) -> TokenLogprob:
    return TokenLogprob(
        UNKNOWN_TOKEN, text, logprob, tuple((UNKNOWN_TOKEN, other, value) for other, value in top)
    )
