"""kb sync and kb reindex killed at random moments (SIGKILL, by the clock): nothing is lost, doubled or half there."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from weightwright.address.stores import parse_store
from weightwright.rag import index
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder

LONG, SHORT = (ChunkSettings(chunk_tokens=tokens, overlap_tokens=0) for tokens in (64, 16))
DOCUMENTS = 60
KILLS = [
    pytest.param(2, id="2 kills of each"),
    pytest.param(50, id="50 kills of each", marks=pytest.mark.slow),
]
_RUN = """
import sys
from pathlib import Path
from weightwright.address.stores import parse_store
from weightwright.rag import index, reindex
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder
index._EMBED_TEXTS = reindex._EMBED_TEXTS = 16
verb, path, folder, tokens = sys.argv[1:]
chunks = ChunkSettings(chunk_tokens=int(tokens), overlap_tokens=0)
print("begin", flush=True)
if verb == "sync":
    store = open_store(parse_store(path), embedder=HashEmbedder(), chunks=chunks, create=True)
    index.sync(store, HashEmbedder(), folder)
    store.close()
else:
    reindex.reindex(parse_store(path), HashEmbedder(), embedder_address="hash", chunks=chunks)
print("end", flush=True)
"""


def write(folder: Path, number: int, edition: int) -> None:
    text = f"Note {number} of edition {edition} is about owls. " + "They hunt at night and sleep by day. " * (
        number % 9 + 1
    )
    (folder / f"{number:03}.txt").write_text(text, encoding="utf-8")


def held(path: Path) -> dict[str, Any]:
    """Each document's version and chunks; every chunk once, found by terms, with a vector."""
    with closing(open_store(parse_store(str(path)))) as store:
        found: dict[str, Any] = {}
        for chunk, vector in store.scan():
            assert vector.shape == (64,)
            found.setdefault(chunk.document_id, []).append((chunk.start, chunk.end, chunk.text))
        infos = {info.id: (info.version, info.chunks) for info in store.documents()}
        assert infos.keys() == found.keys()
        for name, chunks in found.items():
            assert len(chunks) == len(set(chunks)) == infos[name][1]
        assert len(store.search_terms("owls hunt note edition", 10_000)) == sum(map(len, found.values()))
        return {name: (infos[name][0], tuple(found[name])) for name in found}


def made(folder: Path, path: Path, chunks: ChunkSettings) -> dict[str, Any]:
    with closing(
        open_store(parse_store(str(path)), embedder=HashEmbedder(), chunks=chunks, create=True)
    ) as store:
        index.sync(store, HashEmbedder(), folder)
    return held(path)


def command(verb: str, path: Path, folder: Path, chunks: ChunkSettings) -> list[str]:
    return [sys.executable, "-c", _RUN, verb, str(path), str(folder), str(chunks.chunk_tokens)]


def killed(argv: list[str], after_s: float) -> bool:
    """Run and kill; whether it was killed before it had ended."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "begin\n"
        time.sleep(after_s)  # the moment of the kill
        os.kill(run.pid, signal.SIGKILL)
        return "end" not in run.stdout.read()


def takes_s(argv: list[str]) -> float:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        started_s = time.monotonic()
        assert "end" in run.stdout.read()
        return time.monotonic() - started_s


@pytest.mark.parametrize("kills", KILLS)
def test_sync_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    folder, path, rng = tmp_path / "docs", tmp_path / "kb.db", random.Random(kills)
    folder.mkdir()
    for number in range(DOCUMENTS):
        write(folder, number, 0)
    whole_s = takes_s(command("sync", tmp_path / "timed.db", folder, SHORT))
    made(folder, path, SHORT)
    hits = 0
    for edition in range(1, kills + 1):
        before = held(path)
        for number in range(DOCUMENTS):  # all change, some go, some come back
            write(folder, number, edition)
        for number in rng.sample(range(DOCUMENTS), 5):
            (folder / f"{number:03}.txt").unlink()
        after = made(folder, tmp_path / f"new{edition}.db", SHORT)
        hits += killed(command("sync", path, folder, SHORT), rng.random() * whole_s)
        now = held(path)
        for name in before.keys() | after.keys() | now.keys():  # each document as it was, or as it is
            assert now.get(name) in (before.get(name), after.get(name))
        takes_s(command("sync", path, folder, SHORT))
        assert held(path) == after
    print(f"{hits} of {kills} kills of sync came before its end")
    assert hits >= kills // 4


@pytest.mark.parametrize("kills", KILLS)
def test_reindex_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    folder, path, rng = tmp_path / "docs", tmp_path / "kb.db", random.Random(kills)
    folder.mkdir()
    for number in range(DOCUMENTS):
        write(folder, number, 0)
    cuts = {LONG: made(folder, path, LONG), SHORT: made(folder, tmp_path / "short.db", SHORT)}
    aim = SHORT
    whole_s = takes_s(command("reindex", tmp_path / "short.db", folder, LONG))
    hits = 0
    for _ in range(kills):
        hits += killed(command("reindex", path, folder, aim), rng.random() * whole_s)
        now = held(path)
        assert now in cuts.values()  # the old one or the new one, whole
        if now == cuts[aim]:
            aim = LONG if aim is SHORT else SHORT
    takes_s(command("reindex", path, folder, aim))
    assert held(path) == cuts[aim]
    assert not list(tmp_path.glob("kb.reindex*"))
    print(f"{hits} of {kills} kills of reindex came before its end")
    assert hits >= kills // 4
