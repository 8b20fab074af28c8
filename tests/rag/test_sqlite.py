"""The SQLite store: the contract, and what can be wrong with its file."""

import math
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from weightwright.address.stores import parse_store
from weightwright.errors import StoreError
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.opening import open_store
from weightwright.rag.stores.sqlite.terms import K1, B
from weightwright.testing.embedder import HashEmbedder
from weightwright.testing.store import StoreContract, document_of, open_at, vector_of


class TestSqlite(StoreContract):
    @pytest.fixture
    def address(self, tmp_path):
        return f"sqlite:///{tmp_path}/kb.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kb.db"


def test_nothing_is_made_unless_asked(path):
    with pytest.raises(StoreError, match="weightwright kb add"):
        open_store(parse_store(str(path)))
    assert not path.exists()


def test_a_new_one_needs_an_embedder(path):
    with pytest.raises(StoreError, match="needs an embedder"):
        open_store(parse_store(str(path)), create=True)
    assert not path.exists()


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(StoreError, match="create it first"):
        open_at(str(tmp_path / "no" / "kb.db"))


@pytest.mark.parametrize("content", [b"%PDF-1.4", b"x", b"SQLite format 3 but not really"])
def test_a_foreign_file_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a knowledge base"):
        open_at(str(path))
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        open_at(str(path))
    assert path.read_bytes() == before


def test_a_damaged_file_is_one_clear_line(path):
    store = open_at(str(path))
    store.replace(*document_of("a", "\n".join(f"line {n}" for n in range(500))))
    store.close()
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        open_at(str(path)).search_terms("line", 5)


def test_a_newer_format_is_refused(path):
    open_at(str(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"newer version.*pip install --upgrade"):
        open_at(str(path))


def test_an_empty_file_is_filled(path):
    path.touch()
    with pytest.raises(StoreError, match="is empty"):
        open_store(parse_store(str(path)))
    store = open_at(str(path))
    store.replace(*document_of("a", "text"))
    store.close()
    assert open_at(str(path)).search_terms("text", 1)


def test_a_file_killed_before_its_tables_is_filled(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    store = open_at(str(path))
    assert list(store.documents()) == []
    store.close()


def test_the_error_names_the_embedder_to_use(path):
    open_store(
        parse_store(str(path)), embedder=HashEmbedder(8), create=True, embedder_address="./first"
    ).close()
    with pytest.raises(StoreError, match=r"hash-8.*use --embedder \./first"):
        open_store(parse_store(str(path)), embedder=HashEmbedder(16))


def test_meta_is_kept(path):
    settings = ChunkSettings(chunk_tokens=64, overlap_tokens=8)
    open_store(
        parse_store(str(path)), embedder=HashEmbedder(8), chunks=settings, create=True, embedder_address="x/y"
    ).close()
    store = open_store(parse_store(str(path)))
    assert (store.meta.chunks, store.meta.embedder_address, store.meta.width) == (settings, "x/y", 8)
    store.close()


def test_a_second_writer_waits_and_then_says_so(path, monkeypatch):
    monkeypatch.setattr("weightwright.rag.stores.sqlite.file._BUSY_S", 0.05)
    store, other = open_at(str(path)), open_at(str(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has been writing"):
            other.replace(*document_of("a", "text"))
        connection.execute("ROLLBACK")
    other.replace(*document_of("a", "text"))
    assert store.search_terms("text", 1)
    store.close()
    other.close()


def test_a_failed_replacement_changes_nothing(path, monkeypatch):
    store = open_at(str(path))
    store.replace(*document_of("a", "old text"))
    document, chunks, vectors = document_of("a", "new text\nmore")
    monkeypatch.setattr("weightwright.rag.stores.sqlite.store.json.dumps", _raise)
    with pytest.raises(KeyboardInterrupt):
        store.replace(document, chunks, vectors)
    assert [hit.chunk.text for hit in store.search_vector(vector_of("text"), 5)] == ["old text"]
    store.close()


def _raise(*_args, **_kwargs):
    raise KeyboardInterrupt


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_one_clear_line(path):
    open_at(str(path)).close()
    path.chmod(stat.S_IRUSR)
    with pytest.raises(StoreError, match="rights"):
        open_at(str(path)).replace(*document_of("a", "text"))


def test_a_knowledge_base_that_cannot_be_written_is_read(sealable):
    folder, seal = sealable
    path = folder / "kb.db"
    with closing(open_at(str(path))) as store:
        store.replace(*document_of("a", "one\ntwo"))
    seal()
    before = sorted(folder.iterdir())
    with closing(open_store(parse_store(str(path)))) as store:
        assert [hit.chunk.text for hit in store.search_terms("two", 5)] == ["two"]
        assert store.search_vector(vector_of("one"), 1)[0].chunk.text == "one"
        assert [chunk.text for chunk, _ in store.scan()] == ["one", "two"]
        assert [info.id for info in store.documents()] == ["a"]
        for write in (lambda: store.delete("a"), lambda: store.replace(*document_of("b", "three"))):
            with pytest.raises(StoreError, match="cannot be opened for writing; check the rights"):
                write()
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_at(str(path))
    assert sorted(folder.iterdir()) == before


def test_what_a_writer_has_just_put_there_is_read_from_where_nothing_can_be_written(path, monkeypatch):
    with closing(open_at(str(path))) as writer:
        writer.replace(*document_of("a", "old"))
        monkeypatch.setattr("os.access", lambda *_: False)
        with closing(open_store(parse_store(str(path)))) as store:
            assert [hit.chunk.text for hit in store.search_terms("old", 5)] == ["old"]
            writer.replace(*document_of("a", "new"))
            assert [hit.chunk.text for hit in store.search_terms("new", 5)] == ["new"]


def test_deleting_a_document_leaves_no_rows(path):
    store = open_at(str(path))
    store.replace(*document_of("a", "one\ntwo"))
    store.delete("a")
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        for table in ("documents", "chunks", "vectors", "terms"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.parametrize("address", ["milvus://host:1", "mongodb://u:secret@host/db"])
def test_stores_of_later_versions_say_so_without_a_password(address):
    with pytest.raises(StoreError, match="not in this version") as caught:
        open_store(parse_store(address))
    assert "secret" not in str(caught.value)


def _as_format_1_wrote_it(path: Path) -> None:
    with closing(open_at(str(path))) as store:
        store.replace(*document_of("a", "one\ntwo"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE chunks DROP COLUMN places")
        connection.execute("ALTER TABLE documents DROP COLUMN modified")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA journal_mode = DELETE")


def test_a_file_of_format_1_gets_what_it_lacks(path):
    _as_format_1_wrote_it(path)
    for _ in range(2):
        with closing(open_at(str(path), create=False)) as store:
            assert store.meta.schema_version == 2
            assert [(hit.chunk.text, hit.chunk.places) for hit in store.search_terms("one", 1)] == [
                ("one", ())
            ]
            assert [info.modified for info in store.documents()] == [""]


def test_a_file_of_format_1_is_read_where_it_cannot_be_written(path, monkeypatch):
    _as_format_1_wrote_it(path)
    monkeypatch.setattr(os, "access", lambda *_args: False)
    with closing(open_at(str(path), create=False)) as store:
        assert store.meta.schema_version == 1
        assert [hit.chunk.text for hit in store.search_terms("two", 1)] == ["two"]
        assert [info.modified for info in store.documents()] == [""]
        assert len(list(store.scan())) == 2


TEXTS = [
    "The boiler leaks. Call the plumber about the boiler.",
    "The plumber comes on Friday.",
    "A boiler, a boiler and once more a boiler: parts and prices of each.",
    "IT department: floor two.",
    "It is raining.",
]


def filled(path, texts=TEXTS):
    store = open_at(str(path))
    for number, text in enumerate(texts):
        store.replace(*document_of(f"d{number}", text))
    return store


def by_hand(question, texts, k1=K1, b=B):
    """BM25 from the formula, a term of the question as often as it stands."""
    cut = [terms(f"heading\n{text}") for text in texts]
    average = sum(map(len, cut)) / len(cut)
    scores = []
    for words in cut:
        score = 0.0
        for term in query_terms(question):
            n = sum(term in other for other in cut)
            idf = math.log(1 + (len(cut) - n + 0.5) / (n + 0.5))
            f = words.count(term)
            score += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(words) / average))
        scores.append(score)
    return scores


@pytest.mark.parametrize(
    "question", ["boiler plumber", "boiler boiler boiler plumber", "IT", "parts of the boiler on Friday"]
)
def test_terms_are_scored_as_the_formula_says(path, question):
    with closing(filled(path)) as store:
        hits = store.search_terms(question, 10)
    expected = {f"d{n}": score for n, score in enumerate(by_hand(question, TEXTS)) if score}
    assert {hit.chunk.document_id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True))


def test_frequent_terms_follow_what_is_written(path):
    with closing(filled(path, [f"boiler number {n}" for n in range(300)])) as store:
        assert len(store.search_terms("boiler", 500)) == 300
        store.delete("d7")
        assert len(store.search_terms("boiler", 500)) == 299


def as_older_version_left_it(path):
    """The same file with the terms, and the marks, of the first analyzer."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'analyzer'")
        connection.execute("UPDATE terms SET words = 'gibberish'")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def test_terms_of_an_older_version_are_cut_again_with_a_line(path, caplog):
    filled(path).close()
    as_older_version_left_it(path)
    with closing(open_at(str(path))) as store:
        assert [hit.chunk.document_id for hit in store.search_terms("plumber Friday", 1)] == ["d1"]
        assert not store.search_terms("gibberish", 1)
    assert "indexing the terms of 5 chunks again" in caplog.text
    caplog.clear()
    open_at(str(path)).close()
    assert not caplog.text


def test_terms_of_an_older_version_that_cannot_be_cut_again_are_refused(path, monkeypatch):
    filled(path).close()
    as_older_version_left_it(path)
    monkeypatch.setattr("weightwright.rag.stores.sqlite.file.is_writable", lambda path: False)
    with pytest.raises(StoreError, match=r"another version .* open it once where it can be written"):
        open_store(parse_store(str(path)))
