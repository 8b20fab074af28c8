"""`LLM`: the engine in the shape of vLLM's offline API."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from weightwright.engine.engine import Engine
from weightwright.engine.settings import Device, EngineSettings, Precision
from weightwright.errors import SettingsError
from weightwright.ports import ChatRequest, Completion, Message, Reply, SamplingParams

_DTYPES: dict[str, Precision] = {
    "auto": "auto",
    "float32": "f32",
    "float": "f32",
    "bfloat16": "bf16",
}

Prompt = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """The completions of one prompt, with vLLM's names."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    outputs: list[Completion]
    finished: bool = True


class LLM:
    """A model to generate with. Raises SettingsError for what vLLM offers and this engine does not.

    `model` is a model address, `adapters` maps names to folders in PEFT's format.
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
    ) -> None:
        from weightwright.model.address import parse_model
        from weightwright.model.load import load

        if dtype not in _DTYPES:
            raise SettingsError(f"dtype={dtype!r} is not known; use one of {', '.join(_DTYPES)}")
        if quantization is not None:
            raise SettingsError(f"quantization={quantization!r} is not supported; use precision=")
        if tensor_parallel_size != 1:
            raise SettingsError(
                f"tensor_parallel_size={tensor_parallel_size} is not supported in process; "
                "serve with vLLM on several GPUs and use its http:// address"
            )
        if precision == "auto":
            precision = _DTYPES[dtype]
        address = parse_model(model)
        folders = {name: Path(folder) for name, folder in (adapters or {}).items()}
        if address.adapter is not None:
            folders["default"] = address.adapter
        self._engine = Engine(
            load(address, precision=precision, device=device, trust_remote_code=trust_remote_code),
            adapters=folders,
            default_adapter="default" if address.adapter is not None else None,
            settings=EngineSettings(
                precision=precision, device=device, max_context=max_model_len, max_sequences=max_num_seqs
            ),
        )

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | None = None,
        use_tqdm: bool = False,
    ) -> list[RequestOutput]:
        """Complete each prompt (a text, or `{"prompt_token_ids": [...]}`); results in order."""
        single = isinstance(prompts, str | Mapping)
        many: list[Prompt] = [prompts] if single else list(prompts)  # type: ignore[list-item]
        parameters = _per_prompt(sampling_params, len(many))
        requests = [
            _request(prompt, params, adapter) for prompt, params in zip(many, parameters, strict=True)
        ]
        return self._run(requests, use_tqdm)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]] | Sequence[Sequence[Mapping[str, str]]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | None = None,
        use_tqdm: bool = False,
    ) -> list[RequestOutput]:
        """Answer one conversation or several, `[{"role": …, "content": …}, …]`, through the template."""
        single = bool(messages) and isinstance(messages[0], Mapping)
        many: Any = [messages] if single else messages
        parameters = _per_prompt(sampling_params, len(many))
        requests = [
            ChatRequest(messages=tuple(Message(**turn) for turn in turns), adapter=adapter, params=params)
            for turns, params in zip(many, parameters, strict=True)
        ]
        return self._run(requests, use_tqdm)

    def get_tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._engine.tokenizer

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, requests: Sequence[ChatRequest], use_tqdm: bool) -> list[RequestOutput]:
        replies: Iterable[Reply] = [self._engine.submit(request) for request in requests]
        if use_tqdm:
            from tqdm import tqdm

            replies = tqdm(replies, unit="prompt")
        return [_output(i, r, reply) for i, (r, reply) in enumerate(zip(requests, replies, strict=True))]


def _output(index: int, request: ChatRequest, reply: Reply) -> RequestOutput:
    ids = None if request.prompt_token_ids is None else list(request.prompt_token_ids)
    return RequestOutput(str(index), request.prompt, ids, list(reply.result().completions))


def _request(prompt: Prompt, params: SamplingParams, adapter: str | None) -> ChatRequest:
    if isinstance(prompt, str):
        return ChatRequest(prompt=prompt, adapter=adapter, params=params)
    if "prompt_token_ids" in prompt:
        return ChatRequest(prompt_token_ids=tuple(prompt["prompt_token_ids"]), adapter=adapter, params=params)
    if "prompt" in prompt:
        return ChatRequest(prompt=prompt["prompt"], adapter=adapter, params=params)
    raise SettingsError(f"a prompt needs the key 'prompt' or 'prompt_token_ids', got {sorted(prompt)}")


def _per_prompt(params: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if len(params) != count:
        raise SettingsError(f"{len(params)} sampling parameters for {count} prompts; give one or {count}")
    return list(params)
