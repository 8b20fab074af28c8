"""A knowledge base made anew: what it holds then, who is told, and what a kill or another writer leaves."""

import json
import os
import random
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from weightwright.address.stores import parse_store
from weightwright.errors import StoreError
from weightwright.rag import index, reindex
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder

LONG, SHORT = (ChunkSettings(chunk_tokens=tokens, overlap_tokens=0) for tokens in (64, 16))
KILLS = [pytest.param(4, id="4 kills"), pytest.param(50, id="50 kills", marks=pytest.mark.slow)]


def filled(folder: Path, path: Path, documents: int = 6) -> Any:
    """A knowledge base at `path` of documents in `folder`; its address."""
    folder.mkdir()
    for number in range(documents):
        text = f"Note {number} is about owls. " + "They hunt at night. They sleep by day. " * (number % 7 + 2)
        (folder / f"{number:03}.txt").write_text(text, encoding="utf-8")
    address = parse_store(str(path))
    with closing(open_store(address, embedder=HashEmbedder(), chunks=LONG, create=True)) as store:
        index.add(store, HashEmbedder(), [folder])
    return address


def anew(address: Any, embedder: Any = None, chunks: ChunkSettings = SHORT, **options: Any) -> Any:
    return reindex.reindex(
        address, embedder or HashEmbedder(), embedder_address="hash", chunks=chunks, **options
    )


def held(address: Any) -> dict[str, Any]:
    """Each document with its version, path and chunks, found in every way, and the width of its vectors."""
    with closing(open_store(address)) as store:
        found: dict[str, Any] = {}
        for chunk, vector in store.scan():
            found.setdefault(chunk.document_id, []).append((chunk.start, chunk.end, chunk.text, len(vector)))
        infos = {info.id: (info.version, info.path, info.chunks) for info in store.documents()}
        assert infos.keys() == found.keys()
        assert len(store.search_terms("owls hunt sleep note", 10_000)) == sum(map(len, found.values()))
        return {name: (*infos[name], tuple(found[name])) for name in infos}


def test_it_is_as_if_made_so_from_the_start(tmp_path: Path) -> None:
    address = filled(tmp_path / "docs", tmp_path / "kb.db")
    embedder = HashEmbedder(width=32)
    made = anew(address, embedder)
    assert (made.documents, made.rebuilt, made.embedder) == (6, 0, "hash-32")
    fresh = parse_store(str(tmp_path / "fresh.db"))
    with closing(open_store(fresh, embedder=embedder, chunks=SHORT, create=True)) as store:
        index.add(store, embedder, [tmp_path / "docs"])
    assert held(address) == held(fresh)
    with closing(open_store(address, embedder=embedder, chunks=SHORT)) as store:
        assert store.meta.embedder_address == "hash"
        [query] = embedder.embed(["owls of note 3"], kind="query")
        assert store.search_vector(query, 1)[0].chunk.document_id == "003.txt"
        assert index.add(store, embedder, [tmp_path / "docs"]).unchanged == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "fresh.db", "kb.db"]


def test_what_has_no_file_any_more_comes_from_its_chunks(tmp_path: Path) -> None:
    address = filled(tmp_path / "docs", tmp_path / "kb.db")
    before = held(address)
    (tmp_path / "docs" / "001.txt").unlink()
    (tmp_path / "docs" / "002.txt").write_text("Something else.", encoding="utf-8")
    assert anew(address).rebuilt == 2
    after = held(address)
    assert {name: row[:2] for name, row in after.items()} == {name: row[:2] for name, row in before.items()}
    for name, row in before.items():
        words = " ".join(text for _, _, text, _ in row[3]).split()
        assert " ".join(text for _, _, text, _ in after[name][3]).split() == words


def test_documents_in_archives_and_twins_are_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    page = "# Owls\n\nOwls hunt at night.\n\n| a | b |\n|---|---|\n| note | sleep |\n"
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("deep/owls.md", page)
        archive.writestr("twin.md", page)
    lines = [
        {"_id": f"c{n}", "title": "", "text": "The same note of owls that hunt and sleep."} for n in range(3)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    address = parse_store(str(tmp_path / "kb.db"))
    with closing(open_store(address, embedder=HashEmbedder(), chunks=LONG, create=True)) as store:
        index.add(store, HashEmbedder(), [folder])
    assert (made := anew(address)).rebuilt == 0
    assert made.documents == 5
    fresh = parse_store(str(tmp_path / "fresh.db"))
    with closing(open_store(fresh, embedder=HashEmbedder(), chunks=SHORT, create=True)) as store:
        index.add(store, HashEmbedder(), [folder])
    assert held(address) == held(fresh)


def test_who_has_it_open_is_told(tmp_path: Path) -> None:
    address = filled(tmp_path / "docs", tmp_path / "kb.db")
    with closing(open_store(address)) as store:
        assert store.search_terms("owls", 1)
        anew(address, HashEmbedder())  # vectors as wide as before
        for use in (lambda: store.search_terms("owls", 1), lambda: store.delete("001.txt")):
            with pytest.raises(StoreError, match="made anew since it was opened"):
                use()


def test_what_is_added_meanwhile_is_taken_along(tmp_path: Path) -> None:
    address = filled(tmp_path / "docs", tmp_path / "kb.db")
    (tmp_path / "late.txt").write_text("Late owls hunt in a note.", encoding="utf-8")
    told: list[int] = []

    def progress(done: int, total: int | None, what: str) -> None:
        if not told:
            with closing(open_store(address)) as store:
                index.add(store, HashEmbedder(), [tmp_path / "late.txt"])
                store.delete("000.txt")
        told.append(done)

    assert anew(address, progress=progress).documents == 6
    assert sorted(held(address)) == ["001.txt", "002.txt", "003.txt", "004.txt", "005.txt", "late.txt"]


def test_another_place(tmp_path: Path) -> None:
    address, to = filled(tmp_path / "docs", tmp_path / "kb.db"), parse_store(str(tmp_path / "other.db"))
    before = held(address)
    anew(address, HashEmbedder(width=32), to=to)
    assert held(address) == before
    assert held(to).keys() == before.keys()
    with pytest.raises(StoreError, match="was made with embedder hash-32"):
        anew(address, to=to)
    with pytest.raises(StoreError, match="there is no knowledge base"):
        anew(parse_store(str(tmp_path / "none.db")))


_RUN = """
import sys
from weightwright.address.stores import parse_store
from weightwright.rag import reindex
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.sqlite import file
from weightwright.testing.embedder import HashEmbedder
connect = file._connect
def traced(path, *, write):
    connection = connect(path, write=write)
    connection.set_trace_callback(lambda statement: print(".", flush=True))  # kills come between any two
    return connection
file._connect = traced
reindex._EMBED_TEXTS = 16
chunks = ChunkSettings(chunk_tokens=16, overlap_tokens=0)
reindex.reindex(parse_store(sys.argv[1]), HashEmbedder(width=32), embedder_address="hash", chunks=chunks)
print("end", flush=True)
"""


@pytest.mark.parametrize("kills", KILLS)
def test_killed_at_any_moment_the_old_one_or_the_new_one_is_there(tmp_path: Path, kills: int) -> None:
    address = filled(tmp_path / "docs", tmp_path / "kb.db", documents=40)
    old = held(address)
    other = parse_store(str(tmp_path / "other.db"))
    anew(address, HashEmbedder(width=32), to=other)
    new, rng = held(other), random.Random(kills)
    command = [sys.executable, "-c", _RUN, str(tmp_path / "kb.db")]
    done = subprocess.run(
        [*command[:-1], str(_copy(tmp_path))], capture_output=True, text=True, check=True
    ).stdout
    statements = done.count(".")
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for _line in zip(range(rng.randrange(statements)), run.stdout, strict=False):
                pass
            os.kill(run.pid, 9)
        assert held(address) in (old, new)
    subprocess.run(command, check=True, capture_output=True)
    assert held(address) == new
    assert not list(tmp_path.glob("kb.reindex*"))


def _copy(tmp_path: Path) -> Path:
    """The knowledge base in another file."""
    import sqlite3

    with (
        closing(sqlite3.connect(tmp_path / "kb.db")) as source,
        closing(sqlite3.connect(tmp_path / "copy.db")) as target,
    ):
        source.backup(target)
    return tmp_path / "copy.db"
