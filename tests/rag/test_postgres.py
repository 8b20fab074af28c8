"""The PostgreSQL store against a real server with pgvector."""

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import numpy as np
import psycopg
import pytest

from weightwright.address.stores import parse_store
from weightwright.errors import StoreError
from weightwright.ports import Chunk, Document
from weightwright.rag.stores.base import StoreAbsentError
from weightwright.rag.stores.filters import parse
from weightwright.rag.stores.opening import open_store
from weightwright.rag.stores.postgres import vector_search
from weightwright.testing.store import StoreContract, document_of, open_at, vector_of

from .servers import free_port, postgres

NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a database."""
    with postgres() as address:
        yield address


class TestPostgres(StoreContract):
    """The contract of every store."""

    @pytest.fixture
    def address(self, server: str) -> str:
        return f"{server}/kb{next(NUMBERS)}"


def admin(server: str) -> "psycopg.Connection":
    return psycopg.connect(server, autocommit=True)


def test_a_lost_connection_is_made_again_and_nothing_is_doubled(server):
    with closing(open_at(f"{server}/lost")) as store:
        store.replace(*document_of("a", "one\ntwo"))
        for number in range(3):
            with admin(server) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weightwright'"
                )
            if number == 1:
                store.replace(*document_of("b", "three"))
            assert len(store.search_vector(vector_of("one"), 9)) == 2 + (number > 0)
        assert len(list(store.scan())) == 3


def test_what_stands_in_the_way_is_one_line_without_the_password(server):
    port = free_port()
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        open_at(f"postgresql://me:se%23cret@127.0.0.1:{port}/db/kb")
    assert "cret" not in str(caught.value)
    with pytest.raises(StoreError, match="createdb"):
        open_at(f"{server.removesuffix('/postgres')}/nowhere/kb")
    with pytest.raises(StoreError, match="names 1 of two parts"):
        open_at(server)
    with admin(server) as connection:
        connection.execute("CREATE SCHEMA taken")
        connection.execute("CREATE TABLE taken.meta (key text, value text)")
    with pytest.raises(StoreError, match="another program's"):
        open_at(f"{server}/taken")


def test_a_knowledge_base_that_was_removed_says_so(server):
    with closing(open_at(f"{server}/gone")) as store:
        store.replace(*document_of("a", "one"))
        with admin(server) as connection:
            connection.execute("DROP SCHEMA gone CASCADE")
        with pytest.raises(StoreError, match="meta"):
            store.search_vector(vector_of("one"), 1)
    with pytest.raises(StoreAbsentError):
        open_store(parse_store(f"{server}/gone"))


def test_a_text_with_nul_keeps_its_offsets(server):
    document = Document("a", "one\x00two three", title="t\x00")
    chunks = [Chunk("a", document.version, 0, 7, "one\x00two"), Chunk("a", document.version, 8, 13, "three")]
    with closing(open_at(f"{server}/nul")) as store:
        store.replace(document, chunks, np.stack([vector_of("one"), vector_of("three")]))
        assert [chunk.text for chunk in store.get([chunk.id for chunk in chunks])] == [
            "one\ufffdtwo",
            "three",
        ]


@pytest.mark.parametrize("width", [16, 2100], ids=["vectors", "halves"])
def test_a_large_knowledge_base_gets_an_index_with_the_same_answers(server, monkeypatch, width):
    monkeypatch.setattr(vector_search, "INDEX_FROM", 500)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1200, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = 0
    with closing(open_at(f"{server}/large{width}", width=width)) as store:
        for part in range(4):
            document = document_of(f"d{part}", "\n".join(f"line {n}" for n in range(300)))
            store.replace(*document[:2], vectors[300 * part : 300 * part + 300])
        for query in vectors[::60]:
            expected = set(np.argsort(-(vectors @ query))[:5].tolist())
            hits = store.search_vector(query, 5)
            found += len(
                expected & {300 * int(hit.chunk.document_id[1:]) + _line(hit.chunk.text) for hit in hits}
            )
        rare = store.search_vector(vectors[0], 50, parse("document = 'd3'"))
        assert len(rare) == 50
    with admin(server) as connection:
        indexes = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexname = 'chunks_vector'",
            (f"large{width}",),
        ).fetchall()
    assert "hnsw" in indexes[0][0]
    assert found >= 0.95 * 5 * 20


def _line(text: str) -> int:
    return int(text.split()[1])


def test_terms_that_an_older_version_cut_are_cut_again(server, caplog):
    address = f"{server}/older"
    with closing(open_at(address)) as store:
        store.replace(*document_of("a", "red apples\nthe sky"))
    with admin(server) as connection:
        connection.execute("UPDATE older.chunks SET terms = ''::tsvector, length = 0")
        connection.execute("UPDATE older.documents SET length = 0")
        connection.execute("UPDATE older.meta SET value = '1' WHERE key = 'analyzer'")
    with closing(open_at(address)) as store:
        assert [hit.chunk.text for hit in store.search_terms("apple", 3)] == ["red apples"]
    assert "indexing the terms" in caplog.text


def test_ranks_by_terms_as_the_sqlite_store_does(server, tmp_path):
    texts = {
        "a": "the red fox\na red red car and a fox\nnothing of it",
        "b": "fox fox fox\nred\n" + "long line of many words about a red thing " * 5,
        "c": "白马过桥\n黑马不过桥，白马过",
    }
    with closing(open_at(f"{server}/ranks")) as ours, closing(open_at(str(tmp_path / "kb.db"))) as file:
        for store in (ours, file):
            for name, text in texts.items():
                store.replace(*document_of(name, text))
        for query in ("red fox", "fox red red", "白马", "a thing about cars"):
            one, other = (
                [(hit.chunk.id, pytest.approx(hit.score, rel=1e-6)) for hit in store.search_terms(query, 9)]
                for store in (ours, file)
            )
            assert [key for key, _ in one] == [key for key, _ in other]
            assert [score.expected for _, score in one] == [score for _, score in other]
