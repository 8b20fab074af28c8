"""OpenAI's answers, both ways: choices whole and streamed, usage."""

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from weightwright.errors import RemoteError
from weightwright.ports import ChatResult, Citation, FinishReason, Piece, Usage
from weightwright.wire.openai import logprobs
from weightwright.wire.openai.messages import read_thought, thought

# `abort` is vLLM's; OpenAI has no word for an answer that was cut off because the server stopped
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "cancelled"}
_WRITTEN = {ours: theirs for theirs, ours in _FINISH.items()}


def head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """The fields that every response shares."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def write_usage(usages: Iterable[Usage]) -> dict[str, Any]:
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


def read_usage(event: Mapping[str, Any]) -> Usage | None:
    """The tokens counted, where the event says so."""
    counted = event.get("usage")
    if not counted:
        return None
    details = counted.get("prompt_tokens_details") or {}
    return Usage(
        counted.get("prompt_tokens") or 0,
        counted.get("completion_tokens") or 0,
        details.get("cached_tokens") or 0,
    )


def beside(part: Piece, *, ids: bool) -> dict[str, Any]:
    """What stands beside the text of a choice: why it ended, its sources, and with `ids` (vLLM's) its tokens.

    `stop_reason` is vLLM's: the stop text or token. `citations` and `trace` are ours: those of a knowledge base.
    """
    reason = None if part.finish_reason is None else _WRITTEN[part.finish_reason]
    values: dict[str, Any] = {"finish_reason": reason, "stop_reason": part.stop_reason}
    if ids:
        values["token_ids"] = list(part.token_ids)
    if part.citations or part.trace:
        values |= {"citations": [asdict(each) for each in part.citations], "trace": dict(part.trace)}
    return values


def write_chat(result: ChatResult, *, prompt_logprobs: int | None, ids: bool) -> dict[str, Any]:
    """A whole chat completion, without its head, with so many alternatives for each token of the prompt."""
    choices = [
        {
            "index": each.index,
            "message": {
                "role": "assistant",
                "content": each.text,
                "refusal": None,
                **thought(each.reasoning),
            },
            "logprobs": logprobs.write_chat(each.logprobs, ids=ids),
            **beside(each, ids=ids),
        }
        for each in result.completions
    ]
    return {
        "choices": choices,
        "usage": write_usage([result.usage]),
        **logprobs.write_prompt(result.prompt_logprobs, prompt_logprobs),
        **prompt_ids(result.prompt_token_ids, ids=ids),
    }


def prompt_ids(token_ids: tuple[int, ...] | None, *, ids: bool) -> dict[str, Any]:
    """VLLM's `prompt_token_ids`, where they are asked for."""
    return {"prompt_token_ids": None if token_ids is None else list(token_ids)} if ids else {}


def write_chat_chunk(piece: Piece, *, first: bool, ids: bool) -> dict[str, Any]:
    """A streamed choice of a chat completion; the first one of an index names the role."""
    delta = thought(piece.reasoning)
    if piece.text or not piece.reasoning:
        delta["content"] = piece.text
    return {
        "index": piece.index,
        "delta": {"role": "assistant", **delta} if first else delta,
        "logprobs": logprobs.write_chat(piece.logprobs, ids=ids),
        **beside(piece, ids=ids),
    }


def read_piece(choice: Mapping[str, Any]) -> Piece:
    """A choice, streamed or whole, of either route. Raises RemoteError for calls of tools, which would be lost."""
    said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
    reason = choice.get("finish_reason")
    if said.get("tool_calls"):
        names = ", ".join(str(call["function"].get("name")) for call in said["tool_calls"])
        raise RemoteError(
            f"the server answered with calls of tools ({names}), which are not read; leave out tools"
        )
    return Piece(
        choice.get("index", 0),
        said.get("content") or said.get("refusal") or "",
        token_ids=tuple(choice.get("token_ids") or ()),
        logprobs=logprobs.read(choice.get("logprobs")),
        finish_reason=_FINISH.get(reason, "stop") if reason else None,
        reasoning=read_thought(said),
        stop_reason=choice.get("stop_reason"),
        citations=tuple(Citation(**each) for each in choice.get("citations") or ()),
        trace=choice.get("trace") or {},
    )


def read_prompt_ids(event: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The prompt's tokens as vLLM gives them: beside the choices of a chat, in those of a completion."""
    inner: Mapping[str, Any] = next(iter(event.get("choices") or ()), {})
    found = event.get("prompt_token_ids") or inner.get("prompt_token_ids")
    return None if found is None else tuple(found)
