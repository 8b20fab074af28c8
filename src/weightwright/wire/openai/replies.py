"""OpenAI's responses as data: choices, log-probabilities, usage, errors."""

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from weightwright.ports import Completion, Piece, TokenLogprob, Usage

LEAST_LOGPROB = -9999.0


def envelope(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """The fields that every response shares."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def usage_of(usages: Iterable[Usage]) -> dict[str, Any]:
    """OpenAI's `usage` of one or several prompts."""
    every = list(usages)
    prompt = sum(usage.prompt_tokens for usage in every)
    completion = sum(usage.completion_tokens for usage in every)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in every)},
    }


def finish_of(reason: str | None) -> str | None:
    """OpenAI's finish reasons have no `cancelled`: the client that cancelled is not there to read it."""
    return "stop" if reason == "cancelled" else reason


def ended(part: Completion | Piece) -> dict[str, Any]:
    """Why a choice ended; `stop_reason` is vLLM's: the stop text or token."""
    return {"finish_reason": finish_of(part.finish_reason), "stop_reason": part.stop_reason}


# --- chat -----------------------------------------------------------------------------------------


def chat_choice(completion: Completion) -> dict[str, Any]:
    """A whole choice of a chat completion."""
    message = {"role": "assistant", "content": completion.text, "refusal": None}
    return {
        "index": completion.index,
        "message": message | _thought(completion.reasoning),
        "logprobs": chat_logprobs(completion.logprobs),
        **ended(completion),
    }


def chat_chunk(piece: Piece, *, first: bool) -> dict[str, Any]:
    """A streamed choice of a chat completion; the first one of an index names the role."""
    delta = _thought(piece.reasoning)
    if piece.text or not piece.reasoning:
        delta["content"] = piece.text
    return {
        "index": piece.index,
        "delta": {"role": "assistant", **delta} if first else delta,
        "logprobs": chat_logprobs(piece.logprobs),
        **ended(piece),
    }


def _thought(reasoning: str) -> dict[str, str]:
    """A thought under both names that clients look for: DeepSeek's, and that of newer vLLM."""
    return {"reasoning_content": reasoning, "reasoning": reasoning} if reasoning else {}


def chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """`choices[].logprobs` of a chat completion."""
    if not logprobs:
        return None

    def entry(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": _finite(logprob), "bytes": list(text.encode())}

    return {
        "content": [
            {**entry(p.text, p.logprob), "top_logprobs": [entry(text, value) for _, text, value in p.top]}
            for p in logprobs
        ],
        "refusal": None,
    }


# --- completions ----------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A token as `/v1/completions` shows it; the prompt's first has no logprob."""

    text: str
    logprob: float | None = None
    top: dict[str, float] | None = None


def shown(logprob: TokenLogprob, count: int) -> Shown:
    """The token and its `count` likeliest alternatives, itself among them in any case."""
    own = _finite(logprob.logprob)
    top = {logprob.text: own}
    for _, text, value in logprob.top[:count]:
        top.setdefault(text, _finite(value))  # of tokens that look alike the likeliest
    return Shown(logprob.text, own, top)


def text_logprobs(tokens: Sequence[Shown], start: int = 0) -> dict[str, Any] | None:
    """`choices[].logprobs` of a completion; the first token stands at character `start`."""
    if not tokens:
        return None
    offsets = [start]
    for token in tokens:
        offsets.append(offsets[-1] + len(token.text))
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [token.top for token in tokens],
        "text_offset": offsets[:-1],
    }


def prompt_logprobs(
    logprobs: Sequence[TokenLogprob | None] | None, count: int | None
) -> dict[str, list[dict[str, Any] | None]]:
    """The field `prompt_logprobs` as vLLM has it, by token id, each prompt token first; {} if not asked."""
    if count is None:
        return {}
    return {"prompt_logprobs": [None if one is None else _by_id(one, count) for one in logprobs or ()]}


def _by_id(one: TokenLogprob, count: int) -> dict[str, Any]:
    alternatives = {
        str(token): {"logprob": _finite(value), "rank": rank, "decoded_token": text}
        for rank, (token, text, value) in enumerate(one.top[:count], 1)
    }
    own = {"logprob": _finite(one.logprob), "rank": one.rank, "decoded_token": one.text}
    return {str(one.token_id): own} | {k: v for k, v in alternatives.items() if k != str(one.token_id)}


def _finite(logprob: float) -> float:
    """JSON has no infinity; vLLM's least log-probability stands for it."""
    return max(logprob, LEAST_LOGPROB)


# --- errors ---------------------------------------------------------------------------------------


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
