"""OpenAI's routes: /v1/models, /v1/chat/completions, /v1/completions."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from weightwright.errors import RequestError, WeightwrightError
from weightwright.ports import Reply
from weightwright.serve.completions import Completions
from weightwright.serve.events import first_of, pieces, submit, whole
from weightwright.serve.offers import Offer, Offers
from weightwright.wire.openai import replies as shapes
from weightwright.wire.openai.requests import ChatCompletionRequest, CompletionRequest

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
            return await _streamed(events, request)
        results = await whole([reply], request)
        if results is None:
            return Response(status_code=_CLIENT_GONE)
        (result,) = results
        choices = [shapes.chat_choice(c) | offer.beside(c) for c in result.completions]
        beside = shapes.prompt_logprobs(result.prompt_logprobs, body.prompt_logprobs)
        return JSONResponse(head | {"choices": choices, "usage": shapes.usage_of([result.usage])} | beside)

    @api.post("/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        offer = offers.named(body.model)
        if offer.grounded:
            raise RequestError(f"{body.model} answers conversations; use /v1/chat/completions")
        requests = body.requests(offer.adapter, offer.params)
        head = shapes.envelope("text_completion", "cmpl", body.model)
        replies = await Completions.start(body, head, offer.chat, requests)
        if body.stream:
            return await _streamed(replies.events(request), request)
        response = await replies.whole(request)
        return JSONResponse(response) if response is not None else Response(status_code=_CLIENT_GONE)

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


async def _streamed(events: AsyncIterator[dict[str, Any]], request: Request) -> Response:
    """Server-sent events; an error before the first event is a plain error response."""
    first = await first_of(events, request)
    if first is None:
        return Response(status_code=_CLIENT_GONE)

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
    head |= {"usage": None} if body.include_usage else {}
    begun: set[int] = set()
    async for piece in pieces(reply):
        choice = shapes.chat_chunk(piece, first=piece.index not in begun)
        begun.add(piece.index)
        beside = offer.beside(piece) if piece.finish_reason is not None else {}
        yield head | {"choices": [choice | beside]}
    if body.include_usage:
        yield head | {"choices": [], "usage": shapes.usage_of([reply.usage])}
