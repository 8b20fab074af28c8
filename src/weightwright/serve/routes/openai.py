"""OpenAI's routes: /v1/models, /v1/chat/completions, /v1/completions."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from weightwright.errors import RequestError, WeightwrightError
from weightwright.ports import (
    Chat,
    ChatRequest,
    ChatResult,
    Completion,
    Piece,
    Reply,
    SamplingParams,
    TokenLogprob,
    Usage,
)
from weightwright.serve.events import CLIENT_GONE, body_of, pieces, streamed, submit, whole
from weightwright.serve.offers import Offer, Offers
from weightwright.wire.openai import logprobs, replies
from weightwright.wire.openai.requests import ChatCompletionRequest, CompletionRequest
from weightwright.wire.reading import read, schema


def router(offers: Offers) -> APIRouter:
    """The routes over what is offered."""
    api = APIRouter(prefix="/v1")
    started = int(time.time())

    @api.head("/models", include_in_schema=False)
    @api.get("/models/", include_in_schema=False)
    @api.get("/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(offer, started) for offer in offers]}

    @api.get("/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        return _model(offers.named(name), started)

    @api.post("/chat/completions", openapi_extra=body_of(schema(ChatCompletionRequest, SamplingParams)))
    async def chat_completions(request: Request) -> Response:
        body = read(ChatCompletionRequest, await request.body())
        offer = offers.named(body.model)
        reply = await submit(offer.chat, body.request(offer.adapter, offer.params))
        head = replies.head("chat.completion", "chatcmpl", body.model)
        if body.stream:
            return await streamed(
                _chat_events(reply, head | {"object": "chat.completion.chunk"}, body), request
            )
        results = await whole([reply], request)
        if results is None:
            return Response(status_code=CLIENT_GONE)
        ids, asked = body.return_token_ids, body.prompt_logprobs
        return JSONResponse(head | replies.write_chat(results[0], prompt_logprobs=asked, ids=ids))

    @api.post("/completions", openapi_extra=body_of(schema(CompletionRequest, SamplingParams)))
    async def completions(request: Request) -> Response:
        body = read(CompletionRequest, await request.body())
        offer = offers.named(body.model)
        if offer.grounded:
            raise RequestError(f"{body.model} answers conversations; use /v1/chat/completions")
        requests = body.requests(offer.adapter, offer.params)
        head = replies.head("text_completion", "cmpl", body.model)
        answers = await _Completions.start(body, head, offer.chat, requests)
        if body.stream:
            return await streamed(answers.events(request), request)
        response = await answers.whole(request)
        return JSONResponse(response) if response is not None else Response(status_code=CLIENT_GONE)

    return api


def _model(offer: Offer, created: int) -> dict[str, Any]:
    return {
        "id": offer.name,
        "object": "model",
        "created": created,
        "owned_by": "weightwright",
        "root": offer.parent or offer.name,
        "parent": offer.parent,
    }


class _StreamedUsage:
    """The `usage` of a stream's chunks: none but the last one's, or with vLLM's `continuous_usage_stats` so far."""

    def __init__(self, answers: Sequence[Reply], body: ChatCompletionRequest | CompletionRequest) -> None:
        self._answers, self._options = answers, body.stream_options
        self._written = 0

    def beside(self, piece: Piece | None = None) -> dict[str, Any]:
        """What a chunk says. Raises RequestError where tokens are not counted as they come."""
        if not self._options.include_usage:
            return {}
        if not self._options.continuous_usage_stats:
            return {"usage": None}
        known = [reply.prompt_token_ids for reply in self._answers if reply.prompt_token_ids is not None]
        if len(known) < len(self._answers):
            raise RequestError(
                "continuous_usage_stats needs a model in the server's own process; leave it out"
            )
        self._written += 0 if piece is None else len(piece.token_ids)
        return {"usage": replies.write_usage([Usage(sum(map(len, known)), self._written)])}

    def last(self) -> list[dict[str, Any]]:
        """What the chunk after the last choice says, where there is one."""
        if not self._options.include_usage:
            return []
        return [{"choices": [], "usage": replies.write_usage(reply.usage for reply in self._answers)}]


async def _chat_events(
    reply: Reply, head: dict[str, Any], body: ChatCompletionRequest
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a chat completion: a role first, then text, a finish reason, the usage if asked."""
    usage, ids = _StreamedUsage([reply], body), body.return_token_ids
    begun: set[int] = set()
    async for piece in pieces(reply):
        choice = replies.write_chat_chunk(piece, first=piece.index not in begun, ids=ids)
        beside = {} if begun else replies.prompt_ids(reply.prompt_token_ids, ids=ids)
        begun.add(piece.index)
        yield head | {"choices": [choice]} | beside | usage.beside(piece)
    for last in usage.last():
        yield head | last


class _Completions:
    """The replies to one request: `body.n` choices for each of its prompts, in their order."""

    def __init__(self, body: CompletionRequest, head: dict[str, Any], chat: Chat) -> None:
        self._body, self._head = body, head
        self._tokenizer = getattr(chat, "tokenizer", None)  # a Chat over HTTP has none
        self._heads = [self._echoed(prompt) for prompt in body.prompt]
        self._replies: list[Reply] = []

    @classmethod
    async def start(
        cls, body: CompletionRequest, head: dict[str, Any], chat: Chat, requests: Sequence[ChatRequest]
    ) -> "_Completions":
        """Start every prompt. Raises RequestError when a prompt cannot be echoed."""
        self = cls(body, head, chat)
        self._replies = [await submit(chat, one) for one in requests]
        return self

    async def whole(self, request: Request) -> dict[str, Any] | None:
        """The response; None when the client went away. Raises the first error of a prompt."""
        results = await whole(self._replies, request)
        if results is None:
            return None
        return self._head | {"choices": self._choices(results), "usage": replies.write_usage(self._usages())}

    async def events(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """The chunks, those of different prompts interleaved as they come."""
        usage = _StreamedUsage(self._replies, self._body)
        if self._body.echo and (self._body.logprobs is not None or self._body.prompt_only):
            # what is known of the prompt's tokens comes at the end, and must stand before the text
            for choice in self._choices(await whole(self._replies, request) or []):
                yield self._head | {"choices": [choice]} | usage.beside()
        else:
            async for choice, piece in self._chunks():
                yield self._head | {"choices": [choice]} | usage.beside(piece)
        for last in usage.last():
            yield self._head | last | {"usage": replies.write_usage(self._usages())}

    # -- whole -------------------------------------------------------------------------------------

    def _choices(self, results: Sequence[ChatResult]) -> list[dict[str, Any]]:
        return [
            self._choice(number, completion, result)
            for number, result in enumerate(results)
            for completion in result.completions
        ]

    def _choice(self, number: int, completion: Completion, result: ChatResult) -> dict[str, Any]:
        body, ids = self._body, self._body.return_token_ids
        if body.prompt_only:  # the token that had to be asked for is not shown
            completion = replace(
                completion, text="", token_ids=(), logprobs=(), finish_reason="length", stop_reason=None
            )
        prompt, places = self._prompt_tokens(number, result)
        tokens = [*prompt, *completion.logprobs]
        return {
            "index": number * body.n + completion.index,
            "text": self._heads[number] + completion.text,
            "logprobs": logprobs.write_text(tokens, body.logprobs or 0, places, ids=ids),
            **replies.beside(completion, ids=ids),
            **logprobs.write_prompt(result.prompt_logprobs, body.prompt_logprobs),
            **replies.prompt_ids(result.prompt_token_ids, ids=ids),
        }

    def _prompt_tokens(self, number: int, result: ChatResult) -> tuple[list[TokenLogprob], logprobs.Places]:
        """The prompt's tokens where they are to be shown, and where the text begins that tokens are shown of."""
        head = self._heads[number]
        if not self._body.echo or self._body.logprobs is None:
            return [], logprobs.Places(len(head))
        rest = [one for one in result.prompt_logprobs or () if one is not None]
        first, places = logprobs.echoed(head, self._decode((result.prompt_token_ids or ())[:1]), rest)
        return [first, *rest], places

    def _usages(self) -> list[Usage]:
        usages = [reply.usage for reply in self._replies]
        return [replace(u, completion_tokens=0) for u in usages] if self._body.prompt_only else usages

    # -- the prompt in front -----------------------------------------------------------------------

    def _echoed(self, prompt: str | list[int]) -> str:
        if not self._body.echo:
            return ""
        if self._tokenizer is None and (self._body.logprobs is not None or not isinstance(prompt, str)):
            raise RequestError(
                "echo of token ids or with logprobs needs a model in the server's own process; "
                "leave out echo, or give a text and leave out logprobs"
            )
        return prompt if isinstance(prompt, str) else self._decode(prompt)

    def _decode(self, ids: Sequence[int]) -> str:
        assert self._tokenizer is not None  # else _echoed refused
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    # -- streamed ----------------------------------------------------------------------------------

    async def _chunks(self) -> AsyncIterator[tuple[dict[str, Any], Piece]]:
        places: dict[int, logprobs.Places] = {}  # by choice
        async for number, piece in _interleaved(self._replies):
            index, ids = number * self._body.n + piece.index, self._body.return_token_ids
            first = index not in places
            place = places.setdefault(index, logprobs.Places(len(self._heads[number])))
            known = self._replies[number].prompt_token_ids
            choice = {
                "index": index,
                "text": self._heads[number] + piece.text if first else piece.text,
                "logprobs": logprobs.write_text(piece.logprobs, self._body.logprobs or 0, place, ids=ids),
                **replies.beside(piece, ids=ids),
                **replies.prompt_ids(known, ids=ids and first),
            }
            yield choice, piece


async def _interleaved(answers: Sequence[Reply]) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of all replies with their reply's number; the first error ends all of them."""
    queue: asyncio.Queue[tuple[int, Piece] | BaseException | None] = asyncio.Queue()

    async def drain(number: int, reply: Reply) -> None:
        try:
            async for piece in pieces(reply):
                queue.put_nowait((number, piece))
            queue.put_nowait(None)
        except WeightwrightError as error:
            queue.put_nowait(error)

    readers = [asyncio.create_task(drain(number, reply)) for number, reply in enumerate(answers)]
    try:
        open_readers = len(readers)
        while open_readers:
            item = await queue.get()
            if item is None:
                open_readers -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for reader in readers:
            reader.cancel()
