"""The Redis store against a real server with the query engine."""

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import numpy as np
import pytest
import redis

from weightwright.errors import StoreError
from weightwright.rag.stores import generations
from weightwright.rag.stores.filters import parse
from weightwright.rag.stores.redis import server as redis_module
from weightwright.rag.stores.redis.server import RedisServer
from weightwright.testing.store import StoreContract, document_of, open_at, vector_of

from .servers import free_port, redis_server, redisearch

NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server."""
    with redis_server(redisearch()) as address:
        yield address


class TestRedis(StoreContract):
    """The contract of every store."""

    @pytest.fixture
    def address(self, server: str) -> str:
        return f"{server}/kb{next(NUMBERS)}"


def client(server: str) -> "redis.Redis":
    return redis.Redis.from_url(server)


def test_a_server_without_the_query_engine_is_refused():
    with redis_server() as plain, pytest.raises(StoreError, match=r"no query engine .* use Redis 8"):
        open_at(f"{plain}/kb")


def test_what_stands_in_the_way_is_one_line_without_the_password(server):
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        open_at(f"redis://me:se%23cret@127.0.0.1:{free_port()}/kb")
    assert "cret" not in str(caught.value)
    with pytest.raises(StoreError, match="names no knowledge base"):
        open_at(server)
    with pytest.raises(StoreError, match="database 0 only"):
        open_at(f"{server}/3/kb")
    with closing(client(server)) as other:
        other.hset("taken:meta", "key", "value")
    with pytest.raises(StoreError, match="another program's"):
        open_at(f"{server}/taken")


def test_a_lost_connection_is_made_again_and_nothing_is_doubled(server):
    with closing(open_at(f"{server}/lost")) as store, closing(client(server)) as other:
        store.replace(*document_of("a", "one\ntwo"))
        for number in range(3):
            other.client_kill_filter(_type="normal", skipme=True)
            if number == 1:
                store.replace(*document_of("b", "three"))
            assert len(store.search_vector(vector_of("one"), 9)) == 2 + (number > 0)
        assert len(list(store.scan())) == 3


def test_a_knowledge_base_that_was_removed_says_so(server):
    with closing(open_at(f"{server}/gone")) as store, closing(client(server)) as other:
        store.replace(*document_of("a", "one"))
        other.delete("gone:meta")
        with pytest.raises(StoreError, match="made anew"):
            store.search_vector(vector_of("one"), 1)


def test_what_a_killed_process_left_is_invisible_and_removed_later(server, monkeypatch):
    address = f"{server}/left"
    with closing(open_at(address)) as store, closing(client(server)) as other:
        store.replace(*document_of("a", "one\ntwo"))
        monkeypatch.setattr(RedisServer, "put_record", _die)
        for name in ("a", "b"):
            with pytest.raises(KeyboardInterrupt):
                store.replace(*document_of(name, "one\nnever whole"))
        monkeypatch.undo()
        assert {hit.chunk.text for hit in store.search_vector(vector_of("one"), 9)} == {"one", "two"}
        assert [hit.chunk.text for hit in store.search_terms("one never", 9)] == ["one"]
        assert len(other.keys("left:c:*")) == 6
        open_at(address).close()  # too early: they may still be at work
        assert len(other.keys("left:c:*")) == 6
        monkeypatch.setattr(generations, "LEFT_BEHIND_S", -1.0)
        open_at(address).close()
        assert len(other.keys("left:c:*")) == 2
        assert other.hlen("left:w") == 0
        assert len(list(store.scan())) == 2


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_large_knowledge_base_gets_an_index_with_the_same_answers(server, monkeypatch):
    monkeypatch.setattr(redis_module, "INDEX_FROM", 500)
    vectors = np.random.default_rng(0).normal(size=(1200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = 0
    with closing(open_at(f"{server}/large")) as store, closing(client(server)) as other:
        for part in range(4):
            document = document_of(f"d{part}", "\n".join(f"line {n}" for n in range(300)))
            store.replace(*document[:2], vectors[300 * part : 300 * part + 300])
        for query in vectors[::60]:
            expected = set(np.argsort(-(vectors @ query))[:5].tolist())
            hits = store.search_vector(query, 5)
            found += len(
                expected & {300 * int(hit.chunk.document_id[1:]) + int(hit.chunk.text[5:]) for hit in hits}
            )
        assert len(store.search_vector(vectors[0], 50, parse("document = 'd3'"))) == 50
        indexes = set(other.execute_command("FT._LIST"))
        assert b"large:index:hnsw" in indexes
        assert b"large:index:flat" not in indexes
    assert found >= 0.95 * 5 * 20
