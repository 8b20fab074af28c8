"""A store that an installed package brings: its scheme is known, it is opened and searched as our own are."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from weightwright.address.stores import parse_store
from weightwright.errors import AddressError, SettingsError, StoreError
from weightwright.ports import Hit
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase
from weightwright.rag.context import with_pages
from weightwright.rag.extract import Extract
from weightwright.rag.retrieve import retrieve
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores import base
from weightwright.rag.stores.base import Capabilities, DocumentInfo
from weightwright.rag.stores.filters import parse
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder
from weightwright.testing.store import StoreContract

from .conftest import DOCUMENTS

_KEPT: dict[str, dict] = {}


class Shelf:
    """A store in this process's memory, without terms and filters."""

    capabilities: ClassVar = Capabilities(
        terms=False, filters=False, survives_kill=False, many_processes=False
    )

    def __init__(self, kept: dict) -> None:
        self._documents, self.meta, self._lock, self._closed = (
            kept["documents"],
            kept["meta"],
            threading.Lock(),
            False,
        )

    def replace(self, document, chunks, vectors):
        base.check_replacement(self.meta, document, chunks, vectors)
        with self._lock:
            self._documents[document.id] = (document, list(chunks), np.array(vectors, np.float32))

    def delete(self, document_id):
        with self._lock:
            return len(self._documents.pop(document_id, (None, []))[1])

    def _rows(self):
        if self._closed:
            raise StoreError("this shelf is closed; open it again")
        with self._lock:
            held = [self._documents[name] for name in sorted(self._documents)]
        return [
            (doc, chunk, vector)
            for doc, chunks, vectors in held
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]

    def search_vector(self, vector, k, where=None):
        base.check_query(self.meta, vector, k)
        hits = [Hit(chunk, float(v @ vector), doc.path, doc.title) for doc, chunk, v in self._rows()]
        return sorted(hits, key=lambda hit: -hit.score)[:k]

    def search_terms(self, query, k, where=None):
        raise AssertionError("a store that has no terms is not asked for them")

    def documents(self, where=None):
        assert where is None, "a store that cannot filter is not asked to"
        for name in sorted(self._documents):
            doc, chunks, _ = self._documents[name]
            yield DocumentInfo(
                doc.id, doc.version, doc.path, doc.title, len(chunks), doc.page_starts, doc.metadata,
                doc.modified,
            )  # fmt: skip

    def get(self, chunk_ids):
        known = {chunk.id: chunk for _, chunk, _ in self._rows()}
        return [known[i] for i in chunk_ids if i in known]

    def scan(self):
        rows = sorted(self._rows(), key=lambda row: (row[1].document_id, row[1].start))
        return iter([(chunk, vector) for _, chunk, vector in rows])

    def close(self):
        self._closed = True


def open_shelf(address, new):
    """What the entry point names."""
    if str(address) == "shelf://me:secret%23word@h/broken":
        raise OSError("cannot log in as me:secret%23word")
    if str(address) not in _KEPT:
        if new is None:
            raise base.StoreAbsentError(f"there is nothing at {address.shown}")
        _KEPT[str(address)] = {"documents": {}, "meta": new}
    return Shelf(_KEPT[str(address)])


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch) -> Path:
    """A package whose entry points name stores, as pip would leave it."""
    info = tmp_path / "site" / "shelves-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[weightwright.stores]\nshelf = {__name__}:open_shelf\nmongodb = {__name__}:open_shelf\n"
        f"gone = no_such_module:open\nsqlite = {__name__}:open_shelf\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    _KEPT.clear()
    return info.parent


class TestShelf(StoreContract):
    @pytest.fixture
    def address(self):
        return "shelf://here/one"


@pytest.fixture
def shelf():
    store = open_store(parse_store("shelf:///x"), embedder=HashEmbedder(), create=True)
    index.add_documents(store, HashEmbedder(), DOCUMENTS)
    return store


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_a_store_without_terms_is_searched_by_vectors(shelf, mode):
    hits = retrieve(shelf, HashEmbedder(), "annual leave", 2, RetrieveSettings(mode=mode))
    assert hits == shelf.search_vector(HashEmbedder().embed(["annual leave"], kind="query")[0], 2)


def test_a_search_that_a_store_cannot_do_is_refused(shelf):
    with pytest.raises(SettingsError, match="no search for terms; use --mode dense"):
        retrieve(shelf, None, "annual leave", 2, RetrieveSettings(mode="terms"))
    with pytest.raises(SettingsError, match="leave out --where"):
        retrieve(shelf, HashEmbedder(), "leave", 2, where=parse("format = 'pdf'"))


def test_it_answers_questions(shelf):
    knowledge = KnowledgeBase(shelf, HashEmbedder())
    answer = knowledge.answer(Extract(), "How many days of annual leave does everybody have?")
    assert "27 days" in answer.text
    assert with_pages([], shelf) == []


def test_an_installed_store_takes_the_place_of_one_that_is_not_in_this_version_only(tmp_path):
    assert isinstance(open_store(parse_store("mongodb://h/x"), embedder=HashEmbedder(), create=True), Shelf)
    assert isinstance(
        open_store(parse_store("mongodb+srv://h/y"), embedder=HashEmbedder(), create=True), Shelf
    )
    ours = open_store(parse_store(str(tmp_path / "kb.db")), embedder=HashEmbedder(), create=True)
    assert not isinstance(ours, Shelf)
    ours.close()
    with pytest.raises(
        StoreError, match=r"not in this version; .* known: gone, mongodb, postgresql, redis, shelf, sqlite"
    ):
        open_store(parse_store("milvus://h/x"))


def test_its_scheme_is_among_the_known_ones():
    with pytest.raises(AddressError, match=r"did you mean shelf\?.* known schemes: sqlite, .*shelf"):
        parse_store("shelv://h/x")


def test_a_package_that_cannot_be_imported_is_one_clear_line():
    with pytest.raises(
        StoreError, match=r"no_such_module:open, cannot be imported .* install its package again"
    ):
        open_store(parse_store("gone://h/x"))


@pytest.mark.parametrize(
    "text",
    [
        "shelf://me:secret%23word@h/broken",
        "shelv://me:secret%23word@h/x",
        "redis://:secret%23word@",
        "redis://me:secret%23word@h:port/x",
        "redis://me:se/cret%23word@h/x",
        "mongodb://me:secret%23word@h/x?ssl=1",
        "mongodb://h/x?password=secret%23word",
        "postgres://me:a@secret%23word@h:99999/x",
    ],
)
def test_a_password_stands_in_no_message(text):
    with pytest.raises((AddressError, StoreError)) as caught:
        open_store(parse_store(text))
    assert "***" in str(caught.value)
    for part in ("secret", "cret%23", "word@"):
        assert part not in str(caught.value)


def test_a_repr_shows_no_password():
    assert repr(parse_store("redis://me:pw@h:1/x")) == "StoreAddress('redis://me:***@h:1/x')"


def test_kb_says_that_nothing_is_there_before_the_embedder_is_loaded():
    script = """
import sys
from weightwright.connect import open_knowledge
from weightwright.errors import StoreError
try:
    open_knowledge("no-such.db")
except StoreError as error:
    print(error)
print("torch" in sys.modules)
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "kb add" in shown
    assert shown.endswith("False\n")
