"""OpenAI's routes: /v1/models, /v1/chat/completions, /v1/completions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from weightwright.errors import RequestError, WeightwrightError
from weightwright.ports import ChatResult, Piece, Reply, Usage
from weightwright.serve import shapes
from weightwright.serve.events import pieces, submit, whole
from weightwright.serve.offers import Offer, Offers
from weightwright.serve.shapes import ChatCompletionRequest, CompletionRequest

_CLIENT_GONE = 499


def router(offers: Offers) -> APIRouter:
    """The routes over what is offered."""
    api = APIRouter(prefix="/v1")
    started = int(time.time())

    @api.get("/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(offer, started) for offer in offers]}

    @api.get("/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        return _model(offers.named(name), started)

    @api.post("/chat/completions")
    async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
        offer = offers.named(body.model)
        reply = await submit(offer.chat, body.request(offer.adapter, offer.params))
        head = shapes.envelope("chat.completion", "chatcmpl", body.model)
        if body.stream:
            events = _chat_events(reply, head | {"object": "chat.completion.chunk"}, offer, body)
            return await _streamed(events)
        result = await whole(reply, request)
        if result is None:
            return Response(status_code=_CLIENT_GONE)
        choices = [shapes.chat_choice(c) | offer.beside(reply, c.index) for c in result.completions]
        return JSONResponse(head | {"choices": choices, "usage": shapes.usage_of(result.usage)})

    @api.post("/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        offer = offers.named(body.model)
        if offer.grounded:
            raise RequestError(f"{body.model} answers conversations; use /v1/chat/completions")
        replies = [await submit(offer.chat, one) for one in body.requests(offer.adapter, offer.params)]
        head = shapes.envelope("text_completion", "cmpl", body.model)
        if body.stream:
            return await _streamed(_text_events(replies, head, body))
        results = [await whole(reply, request) for reply in replies]
        done = [result for result in results if result is not None]
        if len(done) < len(results):
            return Response(status_code=_CLIENT_GONE)
        return JSONResponse(head | _texts(done, body.n))

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


async def _streamed(events: AsyncIterator[dict[str, Any]]) -> Response:
    """Server-sent events; an error before the first event is a plain error response."""
    first = await anext(events)

    async def lines() -> AsyncIterator[str]:
        yield _line(first)
        try:
            async for event in events:
                yield _line(event)
        except WeightwrightError as error:
            yield _line(shapes.error_body(str(error), "server_error"))
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _line(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"


async def _chat_events(
    reply: Reply, head: dict[str, Any], offer: Offer, body: ChatCompletionRequest
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a chat completion: a role first, then text, a finish reason, the usage if asked."""
    begun: set[int] = set()
    last: list[dict[str, Any]] = []
    async for piece in pieces(reply):
        delta: dict[str, Any] = {"content": piece.text}
        if piece.index not in begun:
            begun.add(piece.index)
            delta = {"role": "assistant", **delta}
        choice: dict[str, Any] = {
            "index": piece.index,
            "delta": delta,
            "finish_reason": shapes.finish_of(piece.finish_reason),
            "logprobs": shapes.chat_logprobs(piece.logprobs),
        }
        if piece.finish_reason is not None and offer.grounded:
            last.append(choice)  # its citations are there when the whole reply has ended
            continue
        yield head | {"choices": [choice]}
    for choice in last:
        yield head | {"choices": [choice | offer.beside(reply, choice["index"])]}
    if body.include_usage:
        yield head | {"choices": [], "usage": shapes.usage_of(reply.usage)}


async def _text_events(
    replies: list[Reply], head: dict[str, Any], body: CompletionRequest
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of completions of several prompts, interleaved as they come."""
    queue: asyncio.Queue[tuple[int, Piece] | BaseException | None] = asyncio.Queue()

    async def drain(number: int, reply: Reply) -> None:
        try:
            async for piece in pieces(reply):
                queue.put_nowait((number, piece))
            queue.put_nowait(None)
        except WeightwrightError as error:
            queue.put_nowait(error)

    readers = [asyncio.create_task(drain(number, reply)) for number, reply in enumerate(replies)]
    try:
        open_readers = len(readers)
        while open_readers:
            item = await queue.get()
            if item is None:
                open_readers -= 1
                continue
            if isinstance(item, BaseException):
                raise item
            number, piece = item
            choice = {
                "index": number * body.n + piece.index,
                "text": piece.text,
                "finish_reason": shapes.finish_of(piece.finish_reason),
                "logprobs": shapes.text_logprobs(piece.logprobs),
            }
            yield head | {"choices": [choice]}
    finally:
        for reader in readers:
            reader.cancel()
    if body.include_usage:
        yield head | {"choices": [], "usage": shapes.usage_of(_total(reply.usage for reply in replies))}


def _texts(results: list[ChatResult], n: int) -> dict[str, Any]:
    choices = [
        {
            "index": number * n + completion.index,
            "text": completion.text,
            "finish_reason": shapes.finish_of(completion.finish_reason),
            "logprobs": shapes.text_logprobs(completion.logprobs),
        }
        for number, result in enumerate(results)
        for completion in result.completions
    ]
    return {"choices": choices, "usage": shapes.usage_of(_total(result.usage for result in results))}


def _total(usages: Any) -> Usage:
    both = [(usage.prompt_tokens, usage.completion_tokens) for usage in usages]
    return Usage(sum(prompt for prompt, _ in both), sum(new for _, new in both))
