"""A server that is stopped while it answers: clients get an end, the log no tracebacks."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest

from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Piece, Reply, Score, Usage
from weightwright.serve import run
from weightwright.serve.app import create_app
from weightwright.serve.events import pieces
from weightwright.serve.offers import Offer, Offers
from weightwright.serve.settings import ServeSettings


class Endless:
    """A Chat that says one word and goes on until it is closed."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked = threading.Event()

    def submit(self, request: ChatRequest) -> Reply:
        reply = Reply(request.params.n)
        self.replies.append(reply)
        reply.push(Piece(0, "Once"))
        self.asked.set()
        return reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        raise RequestError("a story has no score")

    def close(self) -> None:
        for reply in self.replies:
            reply.push(Piece(0, "", finish_reason="cancelled"))
            reply.finish(Usage())


@contextmanager
def started(chat: Endless) -> Iterator[tuple[str, threading.Event]]:
    """The server's address, and what stops it."""
    offers, stop = Offers([Offer("story", chat)], chat.close), threading.Event()
    server = run._server(create_app(offers, ServeSettings(model="story")), offers)
    listening = socket.create_server(("127.0.0.1", 0))

    def wait() -> None:
        stop.wait()
        server.should_exit = True

    threads = [
        threading.Thread(target=server.run, kwargs={"sockets": [listening]}),
        threading.Thread(target=wait),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions", stop
    finally:
        stop.set()
        for thread in threads:
            thread.join()


BODY = {"model": "story", "messages": [{"role": "user", "content": "Tell me one."}]}


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_GRACE_S", 0)


def test_a_stream_ends_whole_when_the_server_is_stopped(capfd: pytest.CaptureFixture[str]) -> None:
    with started(Endless()) as (url, stop), httpx.stream("POST", url, json=BODY | {"stream": True}) as answer:
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            stop.set()
    told = [line.removeprefix("data: ") for line in lines if line]
    assert told[-1] == "[DONE]"
    assert json.loads(told[0])["choices"][0]["delta"]["content"] == "Once"
    assert json.loads(told[-2])["choices"][0]["finish_reason"] == "abort"
    assert capfd.readouterr().err == ""


def test_a_whole_answer_is_what_there_was_when_the_server_is_stopped(
    capfd: pytest.CaptureFixture[str],
) -> None:
    chat = Endless()
    with started(chat) as (url, stop):

        def once_asked() -> None:
            chat.asked.wait()
            stop.set()

        threading.Thread(target=once_asked).start()
        (choice,) = httpx.post(url, json=BODY).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Once", "abort")
    assert capfd.readouterr().err == ""


def test_an_answer_that_outlives_the_event_loop_is_told_to_nobody() -> None:
    reply = Reply()

    async def reading() -> None:
        async for _ in pieces(reply):
            return

    reply.push(Piece(0, "Once"))
    asyncio.run(reading())
    reply.push(Piece(0, " upon"))
    reply.finish(Usage())
    assert reply.result(timeout_s=0).text == "Once upon"
