"""A store of your own: everything in memory, gone with the process. Searches by vectors only, and says so.

Run its contract with `pytest examples/extend/store.py`. An installed package makes a scheme known by an entry point:

    [project.entry-points."weightwright.stores"]
    memory = "store:open_memory"
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError
from weightwright.ports import Chunk, ChunkId, Document, Hit, Vectors
from weightwright.rag.stores.base import (
    Capabilities,
    DocumentInfo,
    StoreAbsentError,
    StoreMeta,
    check_query,
    check_replacement,
)
from weightwright.rag.stores.filters import Filter
from weightwright.testing import StoreContract

Held = dict[str, tuple[Document, list[Chunk], Vectors]]
BASES: dict[str, tuple[StoreMeta, Held]] = {}


class MemoryStore:
    """Documents with their chunks and vectors, by id; a document is replaced by one assignment."""

    capabilities = Capabilities(terms=False, filters=False, survives_kill=False, many_processes=False)

    def __init__(self, meta: StoreMeta, held: Held) -> None:
        self.meta = meta
        self._open: Held | None = held

    @property
    def _held(self) -> Held:
        if self._open is None:
            raise StoreError("the store is closed; open it again")
        return self._open

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """See `Store`."""
        check_replacement(self.meta, document, chunks, vectors)
        self._held[document.id] = document, list(chunks), np.array(vectors)

    def delete(self, document_id: str) -> int:
        """See `Store`."""
        return len(self._held.pop(document_id, (None, ()))[1])

    def search_vector(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Hit]:
        """See `Store`."""
        check_query(self.meta, vector, k)
        hits = [
            Hit(chunk, float(row @ vector), document.path, document.title)
            for document, chunks, vectors in list(self._held.values())
            for chunk, row in zip(chunks, vectors, strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.id))[:k]

    def search_terms(self, query: str, k: int, where: Filter | None = None) -> list[Hit]:
        """Never asked: `capabilities` say that it cannot."""
        raise NotImplementedError

    def documents(self, where: Filter | None = None) -> Iterator[DocumentInfo]:
        """See `Store`."""
        for _, (d, chunks, _) in sorted(self._held.items()):
            starts, count = d.page_starts, len(chunks)
            yield DocumentInfo(d.id, d.version, d.path, d.title, count, starts, d.metadata, d.modified)

    def get(self, chunk_ids: Sequence[ChunkId]) -> list[Chunk]:
        """See `Store`."""
        known = {chunk.id: chunk for _, chunks, _ in list(self._held.values()) for chunk in chunks}
        return [known[each] for each in chunk_ids if each in known]

    def scan(self) -> Iterator[tuple[Chunk, Vectors]]:
        """See `Store`."""
        for _, chunks, vectors in list(self._held.values()):
            yield from zip(chunks, vectors, strict=True)

    def close(self) -> None:
        """See `Store`."""
        self._open = None


def open_memory(address: StoreAddress, new: StoreMeta | None) -> MemoryStore:
    """What the entry point names."""
    if str(address) not in BASES:
        if new is None:
            raise StoreAbsentError(f"there is no knowledge base at {address.shown}")
        BASES[str(address)] = (new, {})
    return MemoryStore(*BASES[str(address)])


class TestMemory(StoreContract):
    """What must hold of every store."""

    @pytest.fixture
    def address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A new address, under a scheme that a package's metadata makes known."""
        metadata = tmp_path / "memory_store-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Name: memory-store\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text("[weightwright.stores]\nmemory = store:open_memory\n")
        monkeypatch.syspath_prepend(tmp_path)
        return f"memory://local/{tmp_path.name}"
