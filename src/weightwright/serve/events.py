"""From a Reply, which speaks from the engine's thread, to the server's event loop."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

from weightwright.ports import Chat, ChatRequest, ChatResult, Piece, Reply


async def submit(chat: Chat, request: ChatRequest) -> Reply:
    """Start a request without holding up the event loop: making tokens of a long prompt takes time."""
    return await asyncio.to_thread(chat.submit, request)


async def pieces(reply: Reply) -> AsyncIterator[Piece]:
    """The reply's pieces as they come; raises its error; cancels it when the reader goes away."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue()

    def hand_over(item: Piece | BaseException | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    reply.on_piece(hand_over)
    reply.on_end(hand_over)
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        reply.cancel()  # does nothing once the reply has ended


async def whole(reply: Reply, request: Request) -> ChatResult | None:
    """Wait for the reply's end; None when the client went away first, and the reply is cancelled."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end(_: BaseException | None) -> None:
        loop.call_soon_threadsafe(ended.set)

    reply.on_end(end)
    waiting = asyncio.create_task(ended.wait())
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        return reply.result(timeout_s=0) if ended.is_set() else None
    finally:
        reply.cancel()
        waiting.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
