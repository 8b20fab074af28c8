"""What a store must do. Its contract test is `weightwright.testing.StoreContract`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from weightwright.errors import StoreError
from weightwright.ports import Chunk, ChunkId, Document, Embedder, Hit, MetadataValue, Vectors
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.filters import Filter

SCHEMA_VERSION = 2  # 1 had no places, no modified times


class StoreAbsentError(StoreError):
    """There is no knowledge base yet, and one can be made there."""


@dataclass(frozen=True, slots=True)
class StoreMeta:
    """What a knowledge base was made with; checked at opening so that nothing is silently wrong."""

    embedder: str  # Embedder.name: the same name, the same vectors
    width: int
    chunks: ChunkSettings
    embedder_address: str = ""  # how that embedder was opened, for messages and as a default
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document in a store, without its text."""

    id: str
    version: str
    path: str
    title: str
    chunks: int
    page_starts: tuple[int, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    modified: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; the contract skips, visibly, what it cannot."""

    terms: bool = True
    filters: bool = True
    survives_kill: bool = True
    many_processes: bool = True


class Store(Protocol):
    """A knowledge base: documents, chunks, vectors and terms. Safe to call from several threads."""

    capabilities: ClassVar[Capabilities]

    @property
    def meta(self) -> StoreMeta:
        """What the knowledge base was made with."""
        ...

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Put a document in place of its older version, which answers until the new one is whole.

        vectors [chunks, width] f32. Raises StoreError where chunks and vectors do not fit the document.
        """
        ...

    def delete(self, document_id: str) -> int:
        """Chunks removed; 0 where there is no such document."""
        ...

    def search_vector(self, vector: NDArray[np.float32], k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks nearest to `vector` [width] by inner product, best first."""
        ...

    def search_terms(self, query: str, k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks that hold the query's terms best (BM25), best first."""
        ...

    def documents(self, where: Filter | None = None) -> Iterator[DocumentInfo]:
        """Every document, in order of id."""
        ...

    def get(self, chunk_ids: Sequence[ChunkId]) -> list[Chunk]:
        """The chunks of those ids that are there, in the order asked."""
        ...

    def scan(self, where: Filter | None = None) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
        """Every chunk with its vector, as they were when the scan began; for copying to another store."""
        ...

    def close(self) -> None:
        """Let go of the file or the connection; closing twice is allowed."""
        ...


def check_embedder(meta: StoreMeta, embedder: Embedder, shown: str) -> None:
    """Raise StoreError where a knowledge base was made with another embedder."""
    if meta.embedder == embedder.name and meta.width == embedder.width:
        return
    opened_as = f" (opened as {meta.embedder_address})" if meta.embedder_address else ""
    remedy = f"use --embedder {meta.embedder_address}" if meta.embedder_address else "use that embedder"
    raise StoreError(
        f"{shown} was made with embedder {meta.embedder}{opened_as}, {meta.width} wide, "
        f"not with {embedder.name}, {embedder.width} wide; {remedy}, or make it anew: "
        "weightwright kb reindex KB --embedder EMBEDDER"
    )


def check_chunk_settings(meta: StoreMeta, chunks: ChunkSettings, shown: str) -> None:
    """Raise StoreError where a knowledge base was cut with other settings."""
    if meta.chunks == chunks:
        return
    had, asked = meta.chunks.model_dump(), chunks.model_dump()
    differing = ", ".join(f"{key}={had[key]}, not {asked[key]}" for key in had if had[key] != asked[key])
    flags = " ".join(f"--{key.replace('_', '-')} {asked[key]}" for key in had if had[key] != asked[key])
    raise StoreError(
        f"{shown} was made with {differing}; keep that, or cut it anew: weightwright kb reindex KB {flags}"
    )


def check_replacement(meta: StoreMeta, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
    """Raise StoreError where chunks or vectors do not belong to the document or do not fit the store."""
    vectors = np.asarray(vectors)
    if vectors.shape != (len(chunks), meta.width):
        raise StoreError(
            f"{document.id}: vectors of shape {vectors.shape}, expected {(len(chunks), meta.width)}: "
            f"one for each chunk, as wide as embedder {meta.embedder}"
        )
    if not np.isfinite(vectors).all():
        raise StoreError(f"{document.id}: a vector holds NaN or infinity; check the embedder")
    if len({chunk.id for chunk in chunks}) < len(chunks):
        raise StoreError(f"{document.id}: two chunks have the same range; give each range once")
    for chunk in chunks:
        if (chunk.document_id, chunk.version) != (document.id, document.version):
            raise StoreError(
                f"a chunk of {chunk.document_id} does not belong to {document.id}; chunk it again"
            )
        if chunk.text != document.text[chunk.start : chunk.end] or not chunk.text:
            raise StoreError(f"{document.id}: chunk {chunk.start}-{chunk.end} is not that range of the text")


def check_query(meta: StoreMeta, vector: NDArray[np.float32], k: int) -> None:
    """Raise StoreError where a query vector does not fit the store."""
    if np.asarray(vector).shape != (meta.width,):
        raise StoreError(
            f"a query vector of shape {np.asarray(vector).shape}, expected ({meta.width},) "
            f"as embedder {meta.embedder} makes"
        )
    check_k(k)


def check_k(k: int) -> None:
    """Raise StoreError where k is not positive."""
    if k < 1:
        raise StoreError(f"k must be at least 1, got {k}")
