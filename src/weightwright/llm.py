"""`LLM`: the engine in the shape of vLLM's offline API."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from weightwright.connect import open_vllm
from weightwright.engine.engine import Engine
from weightwright.engine.open import open_engine
from weightwright.engine.outputs import (  # fmt: skip
    EmbeddingOutput,
    EmbeddingRequestOutput,
    LoRARequest,
    RequestOutput,
    precision_of,
    settings_of,
)
from weightwright.errors import SettingsError
from weightwright.options import Device, Precision
from weightwright.plan.measured import STEP_TOKENS
from weightwright.ports import Chat, ChatRequest, Message, Reply, SamplingParams, Score, TokenLogprob
from weightwright.wire.openai.messages import read_messages

T = TypeVar("T")
Conversation = Sequence[Mapping[str, Any] | Message]
Prompt = str | Mapping[str, Any] | Sequence[int]


class LLM:
    """A model to generate with. Raises SettingsError for what vLLM offers and this engine does not.

    `model` is a model address, `adapters` maps names to folders in PEFT's format. Further options are the fields of
    `EngineSettings`, or vLLM's names for them. With `engine_python` a vLLM is started there and answers, on
    `tensor_parallel_size` devices; embeddings, scores and adapters while it runs are this engine's alone.
    """

    def __init__(
        self,
        model: str,
        *,
        adapters: Mapping[str, str | Path] | None = None,
        precision: Precision = "auto",
        device: Device = "auto",
        dtype: str = "auto",
        quantization: str | None = None,
        max_model_len: int | None = None,
        max_num_seqs: int = 32,
        tensor_parallel_size: int = 1,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> None:
        settings = settings_of(
            options,
            {
                "precision": precision_of(precision, dtype, quantization),
                "device": device,
                "max_context": max_model_len,
                "max_sequences": max_num_seqs,
                "step_tokens": max(STEP_TOKENS, max_num_seqs),
                "trust_remote_code": trust_remote_code,
                "tensor_parallel_size": tensor_parallel_size,
            },
        )
        self._folders = {name: Path(folder) for name, folder in (adapters or {}).items()}
        self._address = model
        self._chat: Chat = (open_vllm if settings.elsewhere else open_engine)(
            model, adapters=self._folders, settings=settings
        )

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | Sequence[str | None] | None = None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        priority: Sequence[int] | None = None,
        use_tqdm: bool = False,
    ) -> list[RequestOutput]:
        """Complete each prompt (a text, or `{"prompt_token_ids": [...]}`); results in order.

        Sampling parameters and adapters are one for all prompts or a list with one for each (None: no adapter).
        """
        many = _prompts(prompts)
        names = self._adapters(lora_request, adapter, len(many))
        ranks = _per_prompt(priority, len(many), "priorities") if priority is not None else [0] * len(many)
        requests = [
            _request(prompt, params, name, rank)
            for prompt, params, name, rank in zip(
                many, _params(sampling_params, len(many)), names, ranks, strict=True
            )
        ]
        return self._run(requests, use_tqdm)

    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | Sequence[str | None] | None = None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        use_tqdm: bool = False,
    ) -> list[RequestOutput]:
        """Answer one conversation or several, in OpenAI's messages, `[{"role": …, "content": …}, …]`, or ours.

        `continue_final_message` goes on with the last message instead of beginning an answer; `tools` are shown to
        the model, whose calls come as text; `chat_template_kwargs` goes to the template, as in
        `{"enable_thinking": False}`; a thought comes in `reasoning`. Raises RequestError for what cannot be given
        to the template.
        """
        single = bool(messages) and isinstance(messages[0], Mapping | Message)
        many: Any = [messages] if single else messages
        names = self._adapters(lora_request, adapter, len(many))
        requests = [
            ChatRequest(
                messages=read_messages(turns),
                adapter=name,
                params=params,
                template_options=dict(chat_template_kwargs or {}),
                tools=tuple(tools or ()),
                add_generation_prompt=not continue_final_message
                if add_generation_prompt is None
                else add_generation_prompt,
                continue_final_message=continue_final_message,
            )
            for turns, params, name in zip(many, _params(sampling_params, len(many)), names, strict=True)
        ]
        return self._run(requests, use_tqdm)

    def embed(self, texts: str | Sequence[str], *, pooling: str = "mean") -> list[EmbeddingRequestOutput]:
        """A vector of length one per text, from the model's last hidden states."""
        vectors = self._engine("embed").embed([texts] if isinstance(texts, str) else texts, pooling=pooling)
        return [
            EmbeddingRequestOutput(str(i), EmbeddingOutput([float(x) for x in vector]))
            for i, vector in enumerate(vectors)
        ]

    def loglikelihood(
        self, prompt: str, completions: Sequence[str], *, adapter: str | None = None
    ) -> list[Score]:
        """Log-likelihoods of completions after a prompt."""
        return self._chat.score(prompt, completions, adapter=adapter)

    def get_tokenizer(self) -> Any:
        """The model's tokenizer."""
        if isinstance(self._chat, Engine):
            return self._chat.tokenizer
        from weightwright.weights.load import load_tokenizer

        return load_tokenizer(self._address)

    def get_default_sampling_params(self) -> SamplingParams:
        """What `generate` uses where nothing is given."""
        return SamplingParams()

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Load a LoRA adapter in PEFT's format; requests under way go on."""
        self._engine("load_adapter").load_adapter(name, Path(folder))
        self._folders[name] = Path(folder)

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter."""
        self._engine("drop_adapter").drop_adapter(name)
        self._folders.pop(name, None)

    def close(self) -> None:
        """Free the model."""
        self._chat.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _engine(self, asked: str) -> Engine:
        """The engine in this process. Raises SettingsError where vLLM answers."""
        if isinstance(self._chat, Engine):
            return self._chat
        raise SettingsError(
            f"{asked} needs the engine of this process, and vLLM answers here; leave out engine_python"
            + (", or give adapters={NAME: DIR} to LLM()" if "adapter" in asked else "")
        )

    def _adapters(
        self,
        lora: LoRARequest | Sequence[LoRARequest | None] | None,
        adapter: str | Sequence[str | None] | None,
        count: int,
    ) -> list[str | None]:
        """The adapter of each of `count` prompts, by name; those of vLLM's requests are loaded when first used."""
        if lora is not None and adapter is not None:
            raise SettingsError("give lora_request or adapter, not both")
        if adapter is not None:
            return _one_or_each(adapter, str, count, "adapters")
        requests = _one_or_each(lora, LoRARequest, count, "lora_requests")
        for request in dict.fromkeys(requests):
            if request is not None:
                self._load(request.lora_name, Path(request.lora_path))
        return [None if request is None else request.lora_name for request in requests]

    def _load(self, name: str, folder: Path) -> None:
        known = self._folders.get(name)
        if known is not None and known != folder:
            raise SettingsError(
                f"the adapter {name!r} is already loaded from {known}, not from {folder}; give it another name"
            )
        if known is None:
            self.load_adapter(name, folder)

    def _run(self, requests: Sequence[ChatRequest], use_tqdm: bool) -> list[RequestOutput]:
        replies: Iterable[Reply] = [self._chat.submit(request) for request in requests]
        if use_tqdm:
            from tqdm import tqdm

            replies = tqdm(replies, unit="prompt")
        return [_output(i, r, reply) for i, (r, reply) in enumerate(zip(requests, replies, strict=True))]


def _output(index: int, request: ChatRequest, reply: Reply) -> RequestOutput:
    result = reply.result()
    ids = None if result.prompt_token_ids is None else list(result.prompt_token_ids)
    return RequestOutput(
        request_id=str(index),
        prompt=request.prompt,
        prompt_token_ids=ids,
        outputs=list(result.completions),
        prompt_logprobs=_by_token(result.prompt_logprobs),
        num_cached_tokens=result.usage.cached_tokens,
    )


def _by_token(
    logprobs: tuple[TokenLogprob | None, ...] | None,
) -> list[dict[int, TokenLogprob] | None] | None:
    """Per position the token of the prompt and the likeliest ones, by id."""
    if logprobs is None:
        return None
    return [
        None
        if one is None
        else {
            **{
                token: TokenLogprob(token, text, logprob, (), rank, spelt)
                for rank, ((token, text, logprob), spelt) in enumerate(
                    zip(one.top, one.top_bytes, strict=True), 1
                )
            },
            one.token_id: one,
        }
        for one in logprobs
    ]


def _prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str | Mapping) or (prompts and isinstance(prompts[0], int)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]


def _request(prompt: Prompt, params: SamplingParams, adapter: str | None, priority: int) -> ChatRequest:
    given: dict[str, Any] = {"adapter": adapter, "params": params, "priority": priority}
    if isinstance(prompt, str):
        return ChatRequest(prompt=prompt, **given)
    if not isinstance(prompt, Mapping):
        return ChatRequest(prompt_token_ids=tuple(prompt), **given)
    if "prompt_token_ids" in prompt:
        return ChatRequest(prompt_token_ids=tuple(prompt["prompt_token_ids"]), **given)
    if "prompt" in prompt:
        return ChatRequest(prompt=prompt["prompt"], **given)
    raise SettingsError(f"a prompt needs the key 'prompt' or 'prompt_token_ids', got {sorted(prompt)}")


def _params(params: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    return _per_prompt(params, count, "sampling parameters")


def _one_or_each(given: Any, kind: type[T], count: int, what: str) -> list[T | None]:
    """One for all prompts, or a list with one for each."""
    return [given] * count if given is None or isinstance(given, kind) else _per_prompt(given, count, what)


def _per_prompt(values: Sequence[T], count: int, what: str) -> list[T]:
    if len(values) != count:
        raise SettingsError(f"{len(values)} {what} for {count} prompts; give one or {count}")
    return list(values)
