# ruff: noqa: D102 (the names of tests say what they test)
"""The contract of a store: subclass `StoreContract` and give it an `address` fixture.

    class TestSqlite(StoreContract):
        @pytest.fixture
        def address(self, tmp_path):
            return f"sqlite:///{tmp_path}/kb.db"

What a store's `capabilities` say it cannot do is skipped, visibly.
"""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from weightwright.address.stores import parse_store
from weightwright.errors import StoreError
from weightwright.ports import Chunk, ChunkId, Document, MetadataValue, Place, Vectors
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.base import SCHEMA_VERSION, Store, StoreAbsentError
from weightwright.rag.stores.filters import Filter, matches, parse
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder

WIDTH = 16
_WRITER = """
import sys
from weightwright.testing.store import open_at, two_versions
store = open_at(sys.argv[1])
versions = two_versions()
turn = 0
while True:
    store.replace(*versions[turn % 2])
    print(turn, flush=True)
    turn += 1
"""


def open_at(address: str, *, width: int = WIDTH, create: bool = True) -> Store:
    """The store at an address, made for a HashEmbedder of that width where there is none."""
    return open_store(parse_store(address), embedder=HashEmbedder(width), create=create)


def document_of(
    name: str, text: str, *, path: str = "", metadata: dict[str, MetadataValue] | None = None
) -> tuple[Document, list[Chunk], Vectors]:
    """A document with a chunk for each of its lines, and their vectors."""
    document = Document(
        name,
        text,
        path,
        f"title of {name}",
        (0, len(text) // 2),
        metadata or {},
        (Place(0, 'sheet "A"', lines=1),),
        modified="2026-11-30T09:00:00Z",
    )
    chunks, position = [], 0
    for line in text.split("\n"):
        end = position + len(line)
        page = document.page_at(position)
        places = document.places_in(position, end)
        chunks.append(Chunk(name, document.version, position, end, line, page, "heading", places))
        position = end + 1
    return document, chunks, HashEmbedder(WIDTH).embed([chunk.text for chunk in chunks], kind="passage")


def two_versions(chunks: int = 40) -> list[tuple[Document, list[Chunk], Vectors]]:
    """Two versions of one document that share no chunk."""
    return [
        document_of("turning", "\n".join(f"{word} line {number}" for number in range(chunks)))
        for word in ("former", "latter")
    ]


def vector_of(text: str) -> NDArray[np.float32]:
    """A query vector [WIDTH]."""
    vector: NDArray[np.float32] = HashEmbedder(WIDTH).embed([text], kind="query")[0]
    return vector


class StoreContract:
    """Subclass it with an `address` fixture: a new store address for each test."""

    @pytest.fixture
    def open_again(self, address: str) -> Iterator[Callable[[], Store]]:
        """Opens the same store again, and closes it after the test."""
        opened: list[Store] = []

        def open_one() -> Store:
            opened.append(open_at(address))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, open_again: Callable[[], Store]) -> Store:
        """A new, empty store."""
        return open_again()

    # -- writing and reading ---------------------------------------------------------------------

    def test_what_was_put_in_comes_out(self, store: Store) -> None:
        document, chunks, vectors = document_of("a", "first line\nsecond line", path="/x/a.md")
        store.replace(document, chunks, vectors)
        assert store.get([chunk.id for chunk in reversed(chunks)]) == chunks[::-1]
        [info] = store.documents()
        assert (info.id, info.version, info.path) == ("a", document.version, "/x/a.md")
        assert (info.title, info.chunks, info.page_starts) == (document.title, 2, document.page_starts)
        assert info.modified == document.modified
        scanned = list(store.scan())
        assert [chunk for chunk, _ in scanned] == chunks
        np.testing.assert_allclose(np.stack([vector for _, vector in scanned]), vectors, rtol=1e-6)

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert list(store.documents()) == []
        assert list(store.scan()) == []
        assert store.search_vector(vector_of("anything"), 5) == []
        if store.capabilities.terms:
            assert store.search_terms("anything", 5) == []

    def test_a_document_without_chunks_is_known(self, store: Store) -> None:
        document, _, _ = document_of("empty", "x")
        store.replace(document, [], np.zeros((0, WIDTH), dtype=np.float32))
        assert [(info.id, info.chunks) for info in store.documents()] == [("empty", 0)]

    def test_replacing_leaves_nothing_of_the_old_version(self, store: Store) -> None:
        (_, old_chunks, _), (new, _, _) = versions = two_versions(4)
        for version in versions:
            store.replace(*version)
        assert [(info.version, info.chunks) for info in store.documents()] == [(new.version, 4)]
        assert store.get([chunk.id for chunk in old_chunks]) == []
        if store.capabilities.terms:
            assert store.search_terms("former", 10) == []
        assert len(store.search_vector(vector_of("former line"), 100)) == 4
        assert {hit.chunk.version for hit in store.search_vector(vector_of("x"), 100)} == {new.version}

    def test_the_same_version_twice_is_there_once(self, store: Store) -> None:
        version = document_of("a", "one\ntwo")
        store.replace(*version)
        store.replace(*version)
        assert len(list(store.scan())) == 2
        if store.capabilities.terms:
            assert len(store.search_terms("one", 10)) == 1
        assert len(store.search_vector(vector_of("one"), 10)) == 2

    def test_deleted_is_not_found(self, store: Store) -> None:
        store.replace(*document_of("a", "apple\npear"))
        store.replace(*document_of("b", "apple"))
        assert store.delete("a") == 2
        assert store.delete("a") == 0
        if store.capabilities.terms:
            assert [hit.chunk.document_id for hit in store.search_terms("apple", 10)] == ["b"]
        assert [hit.chunk.document_id for hit in store.search_vector(vector_of("apple"), 10)] == ["b"]
        assert [info.id for info in store.documents()] == ["b"]

    def test_unknown_ids_are_left_out(self, store: Store) -> None:
        document, chunks, vectors = document_of("a", "one\ntwo")
        store.replace(document, chunks, vectors)
        unknown = [
            ChunkId("b", "0", 0, 3),
            ChunkId("a", "other version", 0, 3),
            ChunkId("a", document.version, 0, 2),
        ]
        assert store.get([*unknown, chunks[0].id]) == [chunks[0]]
        assert store.delete("never there") == 0

    def test_documents_come_in_order_of_id(self, store: Store) -> None:
        names = [f"d{number}" for number in range(30)] + ["", "文件", "Z", "a b"]
        for name in random.Random(0).sample(names, len(names)):
            store.replace(*document_of(name, f"text of {name}"))
        assert [info.id for info in store.documents()] == sorted(names)

    def test_odd_texts_survive(self, store: Store) -> None:
        text = 'it\'s "quoted" OR (NEAR* -x) :col\n多音字 ₂ 😀 e\u0301\n% _ \\ ; DROP TABLE chunks --'
        document, chunks, vectors = document_of('o\'dd "name"', text, metadata={'k\'ey "x"': "v'"})
        store.replace(document, chunks, vectors)
        assert store.get([chunk.id for chunk in chunks]) == chunks
        for chunk in chunks:
            if store.capabilities.terms:
                store.search_terms(chunk.text, 5)
        if store.capabilities.terms:
            assert len(store.search_terms("quoted OR NEAR", 5)) == 1

    # -- refusing --------------------------------------------------------------------------------

    def test_wrong_widths_are_refused(self, store: Store) -> None:
        document, chunks, vectors = document_of("a", "one\ntwo")
        with pytest.raises(StoreError, match=r"\(2, 16\)"):
            store.replace(document, chunks, vectors[:, :8])
        with pytest.raises(StoreError, match=r"\(2, 16\)"):
            store.replace(document, chunks, vectors[:1])
        with pytest.raises(StoreError, match=r"\(16,\)"):
            store.search_vector(np.zeros(8, dtype=np.float32), 1)
        assert list(store.documents()) == []

    def test_chunks_that_do_not_fit_are_refused(self, store: Store) -> None:
        document, chunks, vectors = document_of("a", "one\ntwo")
        _, other_chunks, _ = document_of("b", "one\ntwo")
        wrong: Sequence[tuple[Sequence[Chunk], Vectors, str]] = [
            ([chunks[0], chunks[0]], vectors, "same range"),
            (other_chunks, vectors, "belong"),
            ([Chunk("a", document.version, 0, 3, "two")], vectors[:1], "range of the text"),
            (chunks, np.full_like(vectors, np.nan), "NaN"),
        ]
        for some, their_vectors, message in wrong:
            with pytest.raises(StoreError, match=message):
                store.replace(document, some, their_vectors)
        assert list(store.documents()) == []
        with pytest.raises(StoreError, match="at least 1"):
            store.search_vector(vectors[0], 0)
        if store.capabilities.terms:
            with pytest.raises(StoreError, match="at least 1"):
                store.search_terms("one", 0)

    def test_another_embedder_is_refused(self, store: Store, address: str) -> None:
        with pytest.raises(StoreError, match="made with embedder hash-16, 16 wide, not with hash-8"):
            open_at(address, width=8)

    def test_other_chunk_settings_are_refused(self, store: Store, address: str) -> None:
        with pytest.raises(StoreError, match="chunk_tokens=200, not 100"):
            open_store(parse_store(address), chunks=ChunkSettings(chunk_tokens=100))

    def test_nothing_is_made_unless_asked(self, address: str) -> None:
        for _ in range(2):
            with pytest.raises(StoreAbsentError):
                open_store(parse_store(address))

    def test_what_it_was_made_with_is_kept(self, address: str, open_again: Callable[[], Store]) -> None:
        chunks = ChunkSettings(chunk_tokens=77, overlap_tokens=3)
        embedder = HashEmbedder(WIDTH)
        parsed = parse_store(address)
        open_store(parsed, embedder=embedder, chunks=chunks, create=True, embedder_address="./here").close()
        meta = open_again().meta
        assert (meta.embedder, meta.width, meta.chunks) == (embedder.name, WIDTH, chunks)
        assert (meta.embedder_address, meta.schema_version) == ("./here", SCHEMA_VERSION)

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.search_vector(vector_of("x"), 1)

    # -- searching -------------------------------------------------------------------------------

    def test_vectors_are_searched_exactly_and_best_first(self, store: Store) -> None:
        rng = np.random.default_rng(0)
        text = "\n".join(f"line {number}" for number in range(200))
        document, chunks, _ = document_of("a", text)
        vectors = rng.normal(size=(200, WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.replace(document, chunks, vectors)
        query = vectors[17]
        hits = store.search_vector(query, 10)
        expected = np.argsort(-(vectors @ query))[:10]
        assert [hit.chunk.id for hit in hits] == [chunks[i].id for i in expected]
        np.testing.assert_allclose([hit.score for hit in hits], (vectors @ query)[expected], atol=1e-5)
        assert (hits[0].path, hits[0].title) == (document.path, document.title)
        assert len(store.search_vector(query, 1000)) == 200

    def test_terms_are_ranked_best_first(self, store: Store) -> None:
        self._needs_terms(store)
        store.replace(*document_of("a", "a red apple\na red car\na green car\nthe sky and the sea"))
        hits = store.search_terms("red apples?", 10)
        assert [hit.chunk.text for hit in hits] == ["a red apple", "a red car"]
        assert hits[0].score > hits[1].score > 0
        assert len(store.search_terms("car", 1)) == 1
        assert store.search_terms("zeppelin", 5) == []
        assert store.search_terms("?! ...", 5) == []

    def test_terms_find_other_forms_and_numbers(self, store: Store) -> None:
        self._needs_terms(store)
        store.replace(
            *document_of("a", "The boxes were opened in 1,234 towns\nversion 3.5 of ＡＢＣ\nnothing here")
        )
        for query in ("opening a box", "1234", "TOWN", "box opens"):
            assert [hit.chunk.start for hit in store.search_terms(query, 5)] == [0], query
        for query in ("3.5", "abc", "３．５"):
            assert [hit.chunk.text[:7] for hit in store.search_terms(query, 5)] == ["version"], query
        assert store.search_terms("35", 5) == []

    def test_chinese_terms_are_found(self, store: Store) -> None:
        self._needs_terms(store)
        lines = "黑豹队的防守只丢了308分\n南京市长江大桥于1968年建成\nGPU显存不足时请减小批量"
        store.replace(*document_of("zh", lines))
        for query, expected in (
            ("防守丢了多少分", 0),
            ("长江大桥", 1),
            ("显存不足怎么办", 2),
            ("gpu", 2),
            ("1968年", 1),
        ):
            assert store.search_terms(query, 3)[0].chunk.text == lines.split("\n")[expected], query

    def test_a_very_long_query_is_answered(self, store: Store) -> None:
        self._needs_terms(store)
        store.replace(*document_of("a", "word7 stands here"))
        query = " ".join(f"word{number}" for number in range(5000))
        assert len(store.search_terms(query, 3)) == 1

    @pytest.mark.parametrize(
        "condition",
        [
            "kind = 'memo'",
            "kind != 'memo'",
            "year > 2020",
            "year >= 2020",
            "year < 2020",
            "year <= 2020",
            "kind in ('memo', 'note')",
            "year in (2019, 2021)",
            "path ~ '/y/'",
            "modified >= '2026-11-30'",
            "modified < '2026-11-30'",
            "document = 'd3'",
            "draft = true",
            "kind = 'memo' and year > 2019",
            "kind = 'note' or year = 2019",
            "not kind = 'memo'",
            "not (kind = 'memo' or draft = true)",
            "absent = 1",
            "absent != 1",
            "not absent = 1",
            "kind > 1",
            "year = '2020'",
            "year < 'x'",
            "year != 'x'",
            "kind < 5",
            "kind ~ '%'",
            "kind ~ 'em'",
            "title >= 'title of d3'",
            "size > 0.5",
            "year = 2020.0",
        ],
    )
    def test_filters_mean_the_same_everywhere(self, store: Store, condition: str) -> None:
        if not store.capabilities.filters:
            pytest.skip("this store has no filters")
        kinds: list[dict[str, MetadataValue]] = [
            {"kind": "memo", "year": 2019, "draft": True},
            {"kind": "memo", "year": 2020, "draft": False, "size": 0.25},
            {"kind": "note", "year": 2021, "size": 2},
            {"year": "2020"},
            {},
        ]
        for number, metadata in enumerate(kinds):
            path = f"/{'xy'[number % 2]}/{number}.md"
            store.replace(*document_of(f"d{number}", "a shared word", path=path, metadata=metadata))
        where: Filter = parse(condition)
        expected = []
        for info in store.documents():
            fields = {"document": info.id, "path": info.path, "title": info.title, "version": info.version}
            fields["modified"] = info.modified
            if matches(where, {**info.metadata, **fields}):
                expected.append(info.id)
        assert [info.id for info in store.documents(where)] == expected
        assert [chunk.document_id for chunk, _ in store.scan(where)] == expected
        assert (
            sorted(h.chunk.document_id for h in store.search_vector(vector_of("word"), 9, where)) == expected
        )
        if store.capabilities.terms:
            assert sorted(h.chunk.document_id for h in store.search_terms("word", 9, where)) == expected

    # -- other threads, other processes, the end of a process -------------------------------------

    def test_what_was_written_is_there_after_reopening(
        self, store: Store, open_again: Callable[[], Store]
    ) -> None:
        document, chunks, vectors = document_of("a", "kept line\nother")
        store.replace(document, chunks, vectors)
        store.close()
        again = open_again()
        assert again.meta.embedder == "hash-16"
        assert again.meta.width == WIDTH
        assert again.get([chunk.id for chunk in chunks]) == chunks
        if store.capabilities.terms:
            assert again.search_terms("kept", 1)[0].chunk == chunks[0]

    def test_a_reader_sees_what_another_writes(self, store: Store, open_again: Callable[[], Store]) -> None:
        self._needs_processes(store)
        other = open_again()
        assert other.search_vector(vector_of("x"), 5) == []
        store.replace(*document_of("a", "one\ntwo"))
        assert len(other.search_vector(vector_of("one"), 5)) == 2
        store.replace(*document_of("a", "three"))
        assert [hit.chunk.text for hit in other.search_vector(vector_of("one"), 5)] == ["three"]
        store.delete("a")
        assert other.search_vector(vector_of("one"), 5) == []
        if store.capabilities.terms:
            assert other.search_terms("three", 5) == []

    def test_a_scan_is_not_disturbed_by_writers(self, store: Store) -> None:
        former, latter = two_versions(10)
        store.replace(*former)
        scan = store.scan()
        first = next(scan)
        store.replace(*latter)
        store.delete("turning")
        seen = [chunk for chunk, _ in (first, *scan)]
        assert seen == former[1]

    def test_many_threads_at_once(self, store: Store) -> None:
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(5):
                    store.replace(*document_of(f"d{number}", f"turn {turn}\nof thread {number}"))
                    if store.capabilities.terms:
                        assert len(store.search_terms(f"{number}", 50)) >= 1
                    assert store.search_vector(vector_of("thread"), 3)
                    list(store.documents())
            except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [info.chunks for info in store.documents()] == [2] * 6

    def test_the_old_version_answers_until_the_new_one_is_whole(self, store: Store, address: str) -> None:
        self._needs_processes(store)
        versions = two_versions()
        store.replace(*versions[0])
        with _writer(address) as lines:
            for _ in range(20):
                assert lines.readline()
                self._assert_whole(store, versions)

    @pytest.mark.parametrize("turns", [1, 2, 5])
    def test_a_kill_leaves_whole_documents(
        self, store: Store, open_again: Callable[[], Store], address: str, turns: int
    ) -> None:
        if not store.capabilities.survives_kill:
            pytest.skip("this store does not outlive a kill")
        self._needs_processes(store)
        store.replace(*document_of("bystander", "stays"))
        store.close()
        with _writer(address) as lines:
            for _ in range(turns):
                assert lines.readline()
        again = open_again()
        self._assert_whole(again, two_versions())
        if store.capabilities.terms:
            assert len(again.search_terms("stays", 5)) == 1
        again.replace(*two_versions()[0])
        self._assert_whole(again, two_versions()[:1])

    # -- helpers ---------------------------------------------------------------------------------

    @staticmethod
    def _assert_whole(store: Store, versions: Sequence[tuple[Document, list[Chunk], Vectors]]) -> None:
        """One of the versions is there, whole, in every way of looking."""
        found = [
            hit.chunk
            for hit in store.search_vector(vector_of("line"), 500)
            if hit.chunk.document_id == "turning"
        ]
        known = {document.version: chunks for document, chunks, _ in versions}
        assert {chunk.version for chunk in found} <= known.keys()
        assert sorted(found, key=lambda chunk: chunk.start) == known[found[0].version]
        if store.capabilities.terms:
            terms = store.search_terms("former latter", 500)
            assert len(terms) == len(known[terms[0].chunk.version])
            assert len({hit.chunk.version for hit in terms}) == 1

    @staticmethod
    def _needs_terms(store: Store) -> None:
        if not store.capabilities.terms:
            pytest.skip("this store has no term search")

    @staticmethod
    def _needs_processes(store: Store) -> None:
        if not store.capabilities.many_processes:
            pytest.skip("this store serves one process")


class _writer:  # noqa: N801 - used as a function
    """A process that replaces one document for ever, and is killed (SIGKILL) at the end of the block."""

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, address], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self._process.stdout

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
