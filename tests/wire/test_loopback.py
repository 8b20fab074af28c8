"""Nothing is lost between a client and a Chat that stands behind a server, with a knowledge base and without."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from weightwright.address.stores import parse_store
from weightwright.ports import ChatRequest, ChatResult, Piece, Reply
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase, KnowledgeChat
from weightwright.rag.stores.opening import open_store
from weightwright.remote.chat import RemoteChat
from weightwright.serve.app import create_app
from weightwright.serve.offers import Offer, Offers
from weightwright.serve.settings import ServeSettings
from weightwright.testing import wire
from weightwright.testing.embedder import HashEmbedder


class Replays:
    """A Chat that gives the pieces and the end that a test has set, and keeps what it was asked."""

    pieces: list[Piece]
    ended: ChatResult
    asked: ChatRequest

    def submit(self, request: ChatRequest) -> Reply:
        self.asked = request
        return wire.replied(
            request, self.pieces, self.ended.usage, self.ended.prompt_logprobs, self.ended.prompt_token_ids
        )


@pytest.fixture(scope="module")
def replays() -> Replays:
    return Replays()


@pytest.fixture(scope="module")
def knowledge(replays, tmp_path_factory) -> Iterator[KnowledgeChat]:
    folder: Path = tmp_path_factory.mktemp("kb")
    (folder / "ferry.txt").write_text("The ferry to Marsh Island leaves at 07:40. Dogs travel free.")
    embedder = HashEmbedder()
    store = open_store(parse_store(str(folder / "kb.db")), embedder=embedder, create=True)
    index.add(store, embedder, [str(folder / "ferry.txt")])
    base = KnowledgeBase(store, embedder)
    chat = KnowledgeChat(base, replays)
    yield chat
    chat.close()
    base.close()


@pytest.fixture(scope="module")
def url(replays, knowledge) -> Iterator[str]:
    class Any(Offers):
        """Every name but `kb` is an adapter of the one model."""

        def named(self, name: str) -> Offer:
            if name == "kb":
                return super().named(name)
            return Offer(name, replays, adapter=None if name == wire.BASE else name)

    offers = Any([Offer("kb", knowledge, grounded=True)])
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(offers, ServeSettings(model="x"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def client(url) -> Iterator[RemoteChat]:
    chat = RemoteChat(url, None)  # the server lists the knowledge base alone
    chat.name = wire.BASE
    yield chat
    chat.close()


def without_what_json_has_not(result: ChatResult) -> ChatResult:
    """An HTTP answer has the seconds of a search, which are measured anew."""
    return replace(
        result,
        completions=tuple(
            replace(each, trace={name: value for name, value in each.trace.items() if name != "search_s"})
            for each in result.completions
        ),
    )


@wire.FEW
@given(wire.exchanges(wire.REQUESTS | wire.COMPLETIONS))
def test_a_chat_behind_a_server_is_the_chat(client, replays, exchange) -> None:
    request, replays.pieces, reply = exchange
    replays.ended = reply.result()
    there = client.submit(request)
    assert there.result() == replays.ended
    assert replays.asked == replace(request, grounding=None)
    if request.params.prompt_logprobs is None:  # else it is not streamed
        assert list(there) == replays.pieces


ASKED = st.builds(
    lambda request, last: replace(
        request,
        messages=(
            *request.messages,
            replace(last, role="user", tool_calls=(), tool_call_id="", reasoning=""),
        ),
        adapter="kb",
        params=request.params.model_copy(update={"structured_outputs": None}),
        continue_final_message=False,
        add_generation_prompt=True,
    ),
    wire.CONVERSATIONS,
    wire.MESSAGES,
)


@wire.FEW
@given(wire.exchanges(ASKED))
def test_a_knowledge_base_behind_a_server_is_the_knowledge_base(client, knowledge, replays, exchange) -> None:
    request, replays.pieces, reply = exchange
    request = replace(
        request, messages=(*request.messages[:-1], replace(request.messages[-1], content="ferry"))
    )
    replays.ended = reply.result()
    own = replace(request, adapter=None, grounding=None)
    here = knowledge.submit(own).result()
    asked_here = replays.asked
    there = client.submit(request).result()
    assert without_what_json_has_not(there) == without_what_json_has_not(here)
    assert replays.asked == asked_here
    assert all(each.trace["passages"] for each in there.completions)
