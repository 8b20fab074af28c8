"""OpenAI's requests as data, with vLLM's fields beyond them, and their way to a ChatRequest."""

import json
from typing import Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from weightwright.ports import ChatRequest, SamplingParams, StructuredOutputs
from weightwright.wire.openai.fields import Listed, Prompts, ResponseFormat, Turn, refusal
from weightwright.wire.template import OWN_OPTIONS

COMPLETION_TOKENS = 16  # OpenAI's limit of /v1/completions where the request sets none


class _Request(BaseModel):
    """What both routes take. Ranges are not given here: SamplingParams knows them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int = Field(1, ge=1, le=128)
    seed: int | None = None
    stop: Listed = None
    stream: bool = False
    stream_options: dict[str, bool] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    response_format: ResponseFormat | None = None
    # beyond OpenAI, with vLLM's names
    best_of: int | None = Field(None, ge=1, le=128)
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    skip_special_tokens: bool | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: Listed = None
    use_beam_search: bool | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None
    prompt_logprobs: int | None = None
    priority: int = 0
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
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

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, values: Any) -> Any:
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise ValueError(
                f"the request holds {half!r}, half of a surrogate pair; send the whole character"
            ) from error
        return values

    @model_validator(mode="after")
    def _streams_no_prompt_logprobs(self) -> Self:
        if self.stream and self.prompt_logprobs is not None:
            raise ValueError(
                f"prompt_logprobs={self.prompt_logprobs} cannot be streamed; set stream to false"
            )
        return self

    def _params(
        self,
        defaults: SamplingParams,
        *,
        max_tokens: int | None,
        logprobs: int | None,
        prompt_logprobs: int | None,
    ) -> SamplingParams:
        """What is asked for; `defaults` stand for the rest. Raises RequestValidationError naming the field."""
        try:
            given = {
                name: value
                for name in SamplingParams.model_fields
                if (value := getattr(self, name, None)) is not None
            }
            if self.use_beam_search:
                given.setdefault("temperature", 0)
            given |= {
                "max_tokens": max_tokens,
                "logprobs": logprobs,
                "prompt_logprobs": prompt_logprobs,
                "structured_outputs": self._form(),
            }
            return SamplingParams(**{**defaults.model_dump(exclude_unset=True), **given})
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error

    def _form(self) -> StructuredOutputs | None:
        """The form that the answer must have, by whichever of its names it is given."""
        forms = {"structured_outputs": self.structured_outputs}
        forms["response_format"] = self.response_format.form if self.response_format else None
        forms |= {f"guided_{kind}": self._guided(kind) for kind in ("json", "regex", "choice", "grammar")}
        given = {name: form for name, form in forms.items() if form is not None}
        if len(given) > 1:
            raise refusal(next(iter(given)), f"{' and '.join(given)} exclude each other; give one of them")
        return next(iter(given.values()), None)

    def _guided(self, kind: str) -> StructuredOutputs | None:
        """The form by vLLM's older name of it."""
        name = f"guided_{kind}"
        value = getattr(self, name)
        try:
            return None if value is None else StructuredOutputs(**{kind: value})
        except ValidationError as error:
            raise refusal(
                name, f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
            ) from error


class ChatCompletionRequest(_Request):
    """`POST /v1/chat/completions`."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    chat_template_kwargs: dict[str, Any] | None = None
    tools: None = None
    tool_choice: Literal["none", "auto"] | None = None

    @model_validator(mode="after")
    def _template_options_are_free(self) -> Self:
        taken = sorted(OWN_OPTIONS & set(self.chat_template_kwargs or ()))
        if taken:
            raise ValueError(f"chat_template_kwargs cannot set {', '.join(taken)}; leave it out")
        return self

    @model_validator(mode="after")
    def _alternatives_need_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError(f"top_logprobs={self.top_logprobs} needs logprobs; set it to true")
        return self

    def request(self, adapter: str | None, defaults: SamplingParams) -> ChatRequest:
        """As a request to a Chat; `defaults` stand where the request leaves something open."""
        limits = (self.max_completion_tokens, self.max_tokens, defaults.max_tokens)
        params = self._params(
            defaults,
            max_tokens=next((limit for limit in limits if limit is not None), None),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            prompt_logprobs=self.prompt_logprobs,
        )
        return ChatRequest(
            messages=tuple(turn.message() for turn in self.messages),
            adapter=adapter,
            params=params,
            priority=self.priority,
            template_options=self.chat_template_kwargs or {},
        )


class CompletionRequest(_Request):
    """`POST /v1/completions`. With `echo`, `max_tokens` may be 0: the prompt alone is wanted."""

    prompt: Prompts
    logprobs: int | None = None
    echo: bool = False
    suffix: Literal[""] | None = None

    @property
    def prompt_only(self) -> bool:
        """Nothing is to be written."""
        return self.echo and self.max_tokens == 0

    def requests(self, adapter: str | None, defaults: SamplingParams) -> list[ChatRequest]:
        """One request per prompt."""
        limit = COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens
        wanted = [self.prompt_logprobs, self.logprobs if self.echo else None]
        params = self._params(
            defaults,
            max_tokens=1 if self.prompt_only else limit,
            logprobs=self.logprobs,
            prompt_logprobs=max((count for count in wanted if count is not None), default=None),
        )
        return [
            ChatRequest(prompt=one, adapter=adapter, params=params, priority=self.priority)
            if isinstance(one, str)
            else ChatRequest(
                prompt_token_ids=tuple(one), adapter=adapter, params=params, priority=self.priority
            )
            for one in self.prompt
        ]
