"""Knowledge bases copied between stores: whole, without embedding again, resumable."""

from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from weightwright.address.stores import parse_store
from weightwright.errors import StoreError
from weightwright.rag.copying import copy
from weightwright.rag.stores.opening import open_store
from weightwright.testing.store import document_of, open_at, vector_of

from .servers import postgres, redis_server, redisearch


def filled(address: str, documents: int = 6) -> None:
    with closing(open_at(address)) as store:
        for number in range(documents):
            text = f"apple {number}\npear 梨 {number}\n\ufb01n {number}" if number % 3 else f"plum {number}"
            store.replace(*document_of(f"d{number}/ä", text, path=f"/x/{number}.md", metadata={"n": number}))
        document, _, _ = document_of("empty", "x")
        store.replace(document, [], np.zeros((0, 16), dtype=np.float32))


def held(address: str) -> tuple[list, list, list]:
    with closing(open_store(parse_store(address))) as store:
        rows = list(store.scan())
        hits = store.search_terms("apple 4", 3)
        return (
            list(store.documents()),
            [(chunk, vector.round(5).tolist()) for chunk, vector in rows],
            [hit.chunk for hit in hits[:1]],
        )


def test_a_knowledge_base_goes_around_all_stores_and_is_the_same(tmp_path):
    first, last = str(tmp_path / "first.db"), str(tmp_path / "last.db")
    filled(first)
    with postgres() as sql, redis_server(redisearch()) as keys:
        way = [first, f"{sql}/kb", f"{keys}/kb", last]
        for source, target in pairwise(way):
            done = copy(parse_store(source), parse_store(target))
            assert (done.documents, done.chunks, done.unchanged) == (7, 14, 0)
            assert held(target) == held(first)
    with closing(open_store(parse_store(last))) as store:
        assert store.search_vector(vector_of("apple 4"), 1)[0].chunk.text == "apple 4"


def test_a_copy_goes_on_where_it_was_and_follows_changes(tmp_path, monkeypatch):
    source, target = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    filled(source)
    told = []

    def stop(done: int, total: int | None, what: str) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(parse_store(source), parse_store(target), progress=stop)
    assert told == [(1, 7), (2, 7), (3, 7)]
    done = copy(parse_store(source), parse_store(target))
    assert (done.documents, done.unchanged) == (4, 3)
    with closing(open_at(source)) as store:
        store.replace(*document_of("d1/ä", "another text"))
    with closing(open_at(target)) as store:
        store.replace(*document_of("its own", "stays"))
    done = copy(parse_store(source), parse_store(target))
    assert (done.documents, done.chunks, done.unchanged) == (1, 1, 6)
    with closing(open_store(parse_store(target))) as store:
        assert len(list(store.documents())) == 8
        assert [hit.chunk.text for hit in store.search_terms("another", 3)] == ["another text"]


def test_what_cannot_be_copied_is_refused(tmp_path):
    source, other = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    filled(source, 1)
    with pytest.raises(StoreError, match="to itself"):
        copy(parse_store(source), parse_store(source))
    with pytest.raises(StoreError, match="no knowledge base"):
        copy(parse_store(str(tmp_path / "none.db")), parse_store(other))
    open_at(other, width=8).close()
    with pytest.raises(StoreError, match=r"made with embedder hash-8.* hash-16.* new address"):
        copy(parse_store(source), parse_store(other))
