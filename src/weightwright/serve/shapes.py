"""OpenAI's requests and responses as data, and their way to and from a ChatRequest."""

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Completion, Message, Role, SamplingParams, TokenLogprob, Usage


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=128)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: dict[str, bool] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    # beyond OpenAI, with vLLM's names
    top_k: int = Field(0, ge=-1)
    min_p: float = Field(0.0, ge=0, le=1)
    stop_token_ids: list[int] = []
    ignore_eos: bool = False
    # sent by common clients, without a meaning here; what is unknown is refused
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that carries the usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def _params(
        self, max_tokens: int | None, logprobs: int | None, defaults: SamplingParams
    ) -> SamplingParams:
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            n=self.n,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            stop_token_ids=tuple(self.stop_token_ids),
            ignore_eos=self.ignore_eos,
            logprobs=logprobs,
        )


class TextPart(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None

    def message(self) -> Message:
        """The message in our own words: `developer` is OpenAI's newer name of `system`."""
        role: Role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, list):
            return Message(role, "".join(part.text for part in self.content))
        return Message(role, self.content or "")


class ChatCompletionRequest(_Request):
    """`POST /v1/chat/completions`."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    tools: None = None
    tool_choice: Literal["none", "auto"] | None = None

    def request(self, adapter: str | None, defaults: SamplingParams) -> ChatRequest:
        """As a request to a Chat; `defaults` stand where the request leaves something open."""
        limit = self.max_completion_tokens or self.max_tokens or defaults.max_tokens
        params = self._params(limit, (self.top_logprobs or 0) if self.logprobs else None, defaults)
        messages = tuple(turn.message() for turn in self.messages)
        return ChatRequest(messages=messages, adapter=adapter, params=params)


class CompletionRequest(_Request):
    """`POST /v1/completions`."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: Literal[False] = False
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    def requests(self, adapter: str | None, defaults: SamplingParams) -> list[ChatRequest]:
        """One request per prompt; OpenAI's default limit of 16 tokens."""
        params = self._params(self.max_tokens or 16, self.logprobs, defaults)
        prompts: list[Any] = (
            [self.prompt]
            if isinstance(self.prompt, str) or (self.prompt and isinstance(self.prompt[0], int))
            else list(self.prompt)
        )
        if not prompts:
            raise RequestError("prompt is an empty list; give at least one prompt")
        return [
            ChatRequest(prompt=prompt, adapter=adapter, params=params)
            if isinstance(prompt, str)
            else ChatRequest(prompt_token_ids=tuple(prompt), adapter=adapter, params=params)
            for prompt in prompts
        ]


def envelope(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """The fields that every response shares."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def usage_of(usage: Usage) -> dict[str, int]:
    """OpenAI's `usage`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def finish_of(reason: str | None) -> str | None:
    """OpenAI's finish reasons have no `cancelled`: the client that cancelled is not there to read it."""
    return "stop" if reason == "cancelled" else reason


def chat_choice(completion: Completion) -> dict[str, Any]:
    """A whole choice of a chat completion."""
    return {
        "index": completion.index,
        "message": {"role": "assistant", "content": completion.text, "refusal": None},
        "finish_reason": finish_of(completion.finish_reason),
        "logprobs": chat_logprobs(completion.logprobs),
    }


def chat_logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    """`choices[].logprobs` of a chat completion."""
    if not logprobs:
        return None

    def entry(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            {**entry(p.text, p.logprob), "top_logprobs": [entry(text, value) for _, text, value in p.top]}
            for p in logprobs
        ],
        "refusal": None,
    }


def text_logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    """`choices[].logprobs` of a completion."""
    if not logprobs:
        return None
    offsets = [0]
    for p in logprobs:
        offsets.append(offsets[-1] + len(p.text))
    return {
        "tokens": [p.text for p in logprobs],
        "token_logprobs": [p.logprob for p in logprobs],
        "top_logprobs": [{text: value for _, text, value in p.top} for p in logprobs],
        "text_offset": offsets[:-1],
    }


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
