"""OpenAI's requests, with vLLM's fields beyond them, to a ChatRequest."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from weightwright.ports import ChatRequest, SamplingParams
from weightwright.wire.openai.messages import Turn
from weightwright.wire.openai.sampling import Form, read_sampling
from weightwright.wire.reading import FieldError, Shape
from weightwright.wire.template import OWN_OPTIONS

COMPLETION_TOKENS = 16  # OpenAI's limit of /v1/completions where the request sets none
MAX_CHOICES = 128  # OpenAI's limit of n
# fields of OpenAI and vLLM beyond those below, with the values that ask for what happens anyway
_ANYWAY: Mapping[str, Any] = MappingProxyType({
    "parallel_tool_calls": True, "modalities": ["text"], "functions": [], "documents": [], "logits_processors": [],
    "spaces_between_special_tokens": True, "detokenize": True, "return_tokens_as_token_ids": False,
    "include_reasoning": True,
})  # fmt: skip


class StreamOptions(Shape):
    """`stream_options`: which chunks carry the usage. Padding against eavesdroppers is not made."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: Literal[False] = False


class Request(Form):
    """What both routes take. Every other field is one of SamplingParams', which knows their types and ranges."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = None
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES)
    prompt_logprobs: int | None = None
    priority: int = 0
    return_token_ids: bool = False
    # sent by common clients, without a meaning here; what is unknown is refused
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None

    @model_validator(mode="after")
    def _streams_no_prompt_logprobs(self) -> Self:
        if self.stream and self.prompt_logprobs is not None:
            raise ValueError(
                f"prompt_logprobs={self.prompt_logprobs} cannot be streamed; set stream to false"
            )
        return self

    def _params(self, defaults: SamplingParams, **own: Any) -> SamplingParams:
        """What is asked for; `own` are the fields that the route says in its own way. Raises FieldError."""
        beyond = {k: v for k, v in (self.model_extra or {}).items() if k not in _ANYWAY or v != _ANYWAY[k]}
        given = {"n": self.n, "structured_outputs": self.form(), **beyond, **own}
        if self.best_of is not None:
            given["best_of"] = self.best_of
        return read_sampling(given, defaults)


class FunctionTool(Shape):
    """A function that the template shows to the model."""

    type: Literal["function"]
    function: dict[str, Any]

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not isinstance(self.function.get("name"), str):
            raise ValueError("a function needs a name")
        return self


class ChatCompletionRequest(Request):
    """`POST /v1/chat/completions`."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    chat_template_kwargs: dict[str, Any] = Field({})
    add_generation_prompt: bool | None = None  # None: unless the last message is continued
    continue_final_message: bool = False
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: Literal["none", "auto"] = "auto"

    @model_validator(mode="after")
    def _template_options_are_free(self) -> Self:
        taken = sorted(OWN_OPTIONS & set(self.chat_template_kwargs))
        if taken:
            raise ValueError(f"chat_template_kwargs cannot set {', '.join(taken)}; leave it out")
        return self

    @model_validator(mode="after")
    def _alternatives_need_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError(f"top_logprobs={self.top_logprobs} needs logprobs; set it to true")
        return self

    def request(self, adapter: str | None, defaults: SamplingParams) -> ChatRequest:
        """As a request to a Chat; `defaults` stand where the request leaves something open. Raises FieldError."""
        if self.tools and self.tool_choice != "none":
            raise FieldError(
                "tools: calls are not read out of answers; set tool_choice to 'none', "
                "which shows the tools to the model and leaves its calls in the text",
                "tools",
            )
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
            template_options=self.chat_template_kwargs,
            tools=tuple(tool.model_dump() for tool in self.tools),
            add_generation_prompt=not self.continue_final_message
            if self.add_generation_prompt is None
            else self.add_generation_prompt,
            continue_final_message=self.continue_final_message,
        )


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


class CompletionRequest(Request):
    """`POST /v1/completions`. With `echo`, `max_tokens` may be 0: the prompt alone is wanted."""

    prompt: Annotated[list[str | list[int]], BeforeValidator(_prompts)]
    logprobs: int | None = None
    echo: bool = False
    suffix: Literal[""] = ""

    @property
    def prompt_only(self) -> bool:
        """Nothing is to be written."""
        return self.echo and self.max_tokens == 0

    def requests(self, adapter: str | None, defaults: SamplingParams) -> list[ChatRequest]:
        """One request per prompt. Raises FieldError."""
        limit = COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens
        wanted = [self.prompt_logprobs, self.logprobs if self.echo else None]
        params = self._params(
            defaults,
            max_tokens=1 if self.prompt_only else limit,
            logprobs=self.logprobs,
            prompt_logprobs=max((count for count in wanted if count is not None), default=None),
        )
        return [
            ChatRequest(
                prompt=one if isinstance(one, str) else None,
                prompt_token_ids=None if isinstance(one, str) else tuple(one),
                adapter=adapter,
                params=params,
                priority=self.priority,
            )
            for one in self.prompt
        ]
