"""From a Reply, which speaks from the engine's thread, to the server's event loop, and on to the client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from weightwright.errors import WeightwrightError
from weightwright.ports import Chat, ChatRequest, ChatResult, Piece, Reply
from weightwright.wire import protocol_of
from weightwright.wire.events import event
from weightwright.wire.protocol import failure_of

T = TypeVar("T")
CLIENT_GONE = 499  # nginx's status: nobody is there to read it


def body_of(schema: dict[str, Any]) -> dict[str, Any]:
    """What the server's documentation says of a body that the route reads itself, whatever its Content-Type."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def submit(chat: Chat, request: ChatRequest) -> Reply:
    """Start a request without holding up the event loop: making tokens of a long prompt takes time."""
    return await asyncio.to_thread(chat.submit, request)


async def pieces(reply: Reply) -> AsyncIterator[Piece]:
    """The reply's pieces as they come; raises its error; cancels it when the reader goes away."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue()

    def hand_over(item: Piece | BaseException | None) -> None:
        _tell(loop, queue.put_nowait, item)

    reply.on_piece(hand_over)
    reply.on_end(hand_over)
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        reply.cancel()  # does nothing once the reply has ended


async def whole(replies: Sequence[Reply], request: Request) -> list[ChatResult] | None:
    """Wait for the end of all; None when the client went away first. Raises the first error.

    In either case, and when one of them fails, the replies that still run are cancelled.
    """
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    errors: list[BaseException] = []
    left = len(replies)

    def count(error: BaseException | None) -> None:
        nonlocal left
        left -= 1
        if error is not None:
            errors.append(error)
        if errors or not left:
            over.set()

    def end(error: BaseException | None) -> None:
        _tell(loop, count, error)

    for reply in replies:
        reply.on_end(end)
    waiting = asyncio.create_task(over.wait())
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if errors:
            raise errors[0]
        return None if left else [reply.result(timeout_s=0) for reply in replies]
    finally:
        for reply in replies:
            reply.cancel()
        waiting.cancel()
        gone.cancel()


async def first_of(events: AsyncIterator[T], request: Request) -> T | None:
    """The first event; None when the client goes away before it, and what makes the events is stopped."""
    first = asyncio.ensure_future(anext(events))
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
        return first.result() if first.done() else None
    finally:
        first.cancel()
        gone.cancel()


async def streamed(events: AsyncIterator[dict[str, Any]], request: Request) -> Response:
    """Server-sent events of the path's protocol; an error before the first event is a plain error response."""
    protocol = protocol_of(request.url.path)
    first = await first_of(events, request)
    if first is None:
        return Response(status_code=CLIENT_GONE)

    async def lines() -> AsyncIterator[str]:
        yield event(first)
        try:
            async for one in events:
                yield event(one)
        except WeightwrightError as error:
            yield event(protocol.write_error(failure_of(error)))
        yield protocol.stream_end

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[T], None], item: T) -> None:
    """Call back in the event loop, from another thread; once the loop is closed nobody is there to be told."""
    try:
        loop.call_soon_threadsafe(callback, item)
    except RuntimeError:
        if not loop.is_closed():
            raise


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
