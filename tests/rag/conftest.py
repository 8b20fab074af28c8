"""A knowledge base on a hashing embedder, small files, and a Chat that says what it is told."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from weightwright.address.stores import parse_store
from weightwright.ports import ChatRequest, Document, Piece, Reply, Usage
from weightwright.rag import index
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder


class Says:
    """A Chat that answers with given texts, in pieces, and remembers its requests."""

    def __init__(self, *texts: str, piece_characters: int = 3, hold: bool = False) -> None:
        self.texts = texts
        self.requests: list[ChatRequest] = []
        self.replies: list[Reply] = []
        self._step = piece_characters
        self._hold = hold

    def submit(self, request: ChatRequest) -> Reply:
        reply = Reply(request.params.n, on_cancel=lambda: self._cancel(reply))
        self.requests.append(request)
        self.replies.append(reply)
        if not self._hold:
            self.run(reply, request.params.n)
        return reply

    def run(self, reply: Reply, n: int = 1) -> None:
        for number in range(n):
            text = self.texts[number % len(self.texts)]
            parts = [text[i : i + self._step] for i in range(0, len(text), self._step)]
            for i, part in enumerate(parts):
                reason = "stop" if i == len(parts) - 1 else None
                reply.push(Piece(number, part, (i,), finish_reason=reason))
        reply.finish(Usage(7, 5))

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list:
        return []

    def close(self) -> None:
        pass

    def _cancel(self, reply: Reply) -> None:
        reply.push(Piece(0, "", finish_reason="cancelled"))
        reply.finish(Usage())


DOCUMENTS = (
    Document(
        "leave.md", "Everybody has 27 days of annual leave. After 5 years it is 30 days.", "/h/leave.md"
    ),
    Document("fleet.txt", "The motor boat Grey Teal carries 5 people. It was built in 1998.", "/h/fleet.txt"),
    Document("sites.html", "The laboratory stands in Dulvenny. The depot is in Oltermoss.", "/h/sites.html"),
    Document("zh.md", "每位员工每年有27天年假。灰水鸭号摩托艇可以载5人，建于1998年。", "/h/zh.md"),
)


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def store(tmp_path: Path, embedder: HashEmbedder) -> Store:
    opened = open_store(
        parse_store(str(tmp_path / "kb.db")),
        embedder=embedder,
        chunks=ChunkSettings(chunk_tokens=64, overlap_tokens=0),
        create=True,
    )
    yield opened
    opened.close()


@pytest.fixture
def filled(store: Store, embedder: HashEmbedder) -> Store:
    """A store with four small documents."""
    index.add_documents(store, embedder, DOCUMENTS)
    return store
