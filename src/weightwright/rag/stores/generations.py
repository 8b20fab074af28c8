"""A store over a server without transactions: a document's chunks become visible by one write.

Each `replace` writes its chunks under a new generation, then the document's record, which names that generation, and
then removes the chunks of the former one. A search drops chunks whose generation no record names, and searches again
where that may have hidden some. What a killed process leaves is invisible; its marks (`Mark`) say what to remove.
"""

import pickle
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from weightwright.errors import StoreError
from weightwright.ports import Chunk, ChunkId, Document, Hit, MetadataValue, Vectors
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.chunk import indexed_text
from weightwright.rag.stores import base
from weightwright.rag.stores.base import Capabilities, DocumentInfo, StoreMeta
from weightwright.rag.stores.filters import Filter, matches

_PAGE = 500  # records read at a time
_MOST_TERMS = 5000  # of a question
_TURNS = 20  # of a search that writers disturb
LEFT_BEHIND_S = 3600.0  # after so long a write is taken for one whose process was killed


@dataclass(frozen=True, slots=True)
class Record:
    """A document in the store: what `documents` says, and the generation of its chunks."""

    info: DocumentInfo
    generation: str

    @property
    def fields(self) -> dict[str, MetadataValue]:
        """What a condition may name."""
        info = self.info
        own: dict[str, MetadataValue] = {
            "document": info.id, "path": info.path, "title": info.title, "version": info.version,
            "modified": info.modified,
        }  # fmt: skip
        return {**info.metadata, **own}


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk as it is stored; `words` are its terms as a search cuts them, `vector` [width] f32."""

    generation: str
    chunk: Chunk
    vector: NDArray[np.float32]
    words: list[str]

    @property
    def key(self) -> str:
        """What identifies the row in the store."""
        return key_of(self.generation, self.chunk.start, self.chunk.end)


@dataclass(frozen=True, slots=True)
class Mark:
    """A write that is under way: its generation replaces the former one ("": there is none)."""

    document_id: str
    generation: str
    former: str
    since_s: float


class Server(Protocol):
    """What is asked of a server. What it has written or removed, the next call sees, on any connection.

    Each write may be done twice (where a connection was lost before the answer came), to the same end.
    """

    errors: tuple[type[Exception], ...]  # what its client raises

    def explain(self, error: Exception) -> StoreError:
        """One of `errors` as one line with its remedy."""
        ...

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Store chunks; the same again changes nothing."""
        ...

    def drop_rows(self, generation: str) -> None:
        """Remove the chunks of a generation; none is no error."""
        ...

    def rows(self, generation: str) -> list[tuple[Chunk, NDArray[np.float32]]]:
        """The chunks of a generation with their vectors, in order of their ranges."""
        ...

    def chunks(self, keys: Sequence[str]) -> list[Chunk | None]:
        """The chunks of those keys, None for one that is not there."""
        ...

    def nearest(
        self, vector: NDArray[np.float32], k: int, generations: Sequence[str] | None
    ) -> list[tuple[str, float]]:
        """Keys of the k nearest chunks by inner product, best first; only of `generations`, where given."""
        ...

    def best(
        self, words: Sequence[str], k: int, generations: Sequence[str] | None
    ) -> list[tuple[str, float]]:
        """Keys of the k best chunks by BM25, best first; a word that is there n times counts n times."""
        ...

    def put_record(self, record: Record) -> Record | None:
        """Put a document's record in place of its former one, which comes back, in one step."""
        ...

    def drop_record(self, document_id: str) -> Record | None:
        """Remove a document's record, which comes back."""
        ...

    def records(self, document_ids: Sequence[str]) -> list[Record | None]:
        """The records of those documents, None for one that is not there."""
        ...

    def all_records(self) -> Iterator[Record]:
        """Every record, in order of document id (of code points)."""
        ...

    def put_mark(self, mark: Mark) -> None:
        """Note a write that begins."""
        ...

    def drop_mark(self, generation: str) -> None:
        """Forget a write that is done."""
        ...

    def marks(self) -> list[Mark]:
        """The writes that are noted."""
        ...

    def check_meta(self, meta: StoreMeta) -> None:
        """Raise StoreError where the knowledge base is not that any more."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class GenerationStore:
    """A knowledge base on a Server. Safe to call from several threads if the server's client is."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, server: Server, meta: StoreMeta, shown: str, *, tidy: bool) -> None:
        """Use a server's knowledge base; `tidy` removes what processes that were killed have left there."""
        self._server, self._meta, self._shown = server, meta, shown
        self._closed = threading.Event()
        if tidy:
            self._remove_left_behind()

    @property
    def meta(self) -> StoreMeta:
        """What the knowledge base was made with."""
        return self._meta

    # -- writing ---------------------------------------------------------------------------------

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Put a document in place of its older version, which answers until the new one is whole."""
        base.check_replacement(self._meta, document, chunks, vectors)
        words = [terms(indexed_text(chunk)) for chunk in chunks]
        generation = uuid.uuid4().hex
        rows = [
            Row(generation, *row) for row in zip(chunks, np.asarray(vectors, np.float32), words, strict=True)
        ]
        info = DocumentInfo(
            document.id, document.version, document.path, document.title, len(chunks), document.page_starts,
            dict(document.metadata), document.modified,
        )  # fmt: skip
        with self._asked() as server:
            [former] = server.records([document.id])
            server.put_mark(Mark(document.id, generation, _generation(former), time.time()))
            server.write_rows(rows)
            replaced = server.put_record(Record(info, generation))
            for old in {_generation(former), _generation(replaced)} - {"", generation}:
                server.drop_rows(old)
            server.drop_mark(generation)

    def delete(self, document_id: str) -> int:
        """Chunks removed; 0 where there is no such document."""
        with self._asked() as server:
            [record] = server.records([document_id])
            if record is None:
                return 0
            mark = Mark(document_id, uuid.uuid4().hex, record.generation, time.time())
            server.put_mark(mark)
            removed = server.drop_record(document_id)
            for old in {record.generation, _generation(removed)} - {""}:
                server.drop_rows(old)
            server.drop_mark(mark.generation)
        return record.info.chunks

    def _remove_left_behind(self) -> None:
        """Finish what processes have begun that were killed."""
        with self._asked() as server:
            for mark in server.marks():
                if time.time() - mark.since_s < LEFT_BEHIND_S:
                    continue
                [record] = server.records([mark.document_id])
                for generation in {mark.generation, mark.former} - {"", _generation(record)}:
                    server.drop_rows(generation)
                server.drop_mark(mark.generation)

    # -- searching -------------------------------------------------------------------------------

    def search_vector(self, vector: NDArray[np.float32], k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks nearest to `vector` [width] by inner product, best first."""
        base.check_query(self._meta, vector, k)
        return self._found(
            lambda server, k, some: server.nearest(np.asarray(vector, np.float32), k, some), k, where
        )

    def search_terms(self, query: str, k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks that hold the query's terms best (BM25), best first."""
        base.check_k(k)
        words = query_terms(query)[:_MOST_TERMS]
        if not words:
            return []
        return self._found(lambda server, k, some: server.best(words, k, some), k, where)

    def _found(self, search: "_Search", k: int, where: Filter | None) -> list[Hit]:
        hits: list[Hit] = []
        hidden, depth = set[str](), k
        with self._asked() as server:
            for _ in range(_TURNS):
                some = None if where is None else self._generations(server, where)
                scored = [] if some == [] else search(server, depth, some)
                hits, unseen = self._visible(server, scored)
                if unseen <= hidden and (len(hits) >= k or len(scored) < depth):
                    break
                hidden |= unseen
                depth = k + len(scored) - len(hits)
        return hits[:k]

    @staticmethod
    def _generations(server: Server, where: Filter) -> list[str]:
        """The generations of the documents that fulfil a condition."""
        return [record.generation for record in server.all_records() if matches(where, record.fields)]

    @staticmethod
    def _visible(server: Server, scored: Sequence[tuple[str, float]]) -> tuple[list[Hit], set[str]]:
        """The hits whose generation a record names, and the generations that none names."""
        chunks = dict(zip((key for key, _ in scored), server.chunks([key for key, _ in scored]), strict=True))
        ids = sorted({chunk.document_id for chunk in chunks.values() if chunk is not None})
        records = dict(zip(ids, server.records(ids), strict=True))
        hits: list[Hit] = []
        unseen: set[str] = set()
        for key, score in scored:
            chunk = chunks[key]
            record = None if chunk is None else records[chunk.document_id]
            if chunk is None or record is None or record.generation != generation_of(key):
                unseen.add(generation_of(key))
            else:
                hits.append(Hit(chunk, score, record.info.path, record.info.title))
        return hits, unseen

    # -- reading ---------------------------------------------------------------------------------

    def documents(self, where: Filter | None = None) -> Iterator[DocumentInfo]:
        """Every document, in order of id."""
        with self._asked() as server:
            for record in server.all_records():
                if matches(where, record.fields):
                    yield record.info

    def get(self, chunk_ids: Sequence[ChunkId]) -> list[Chunk]:
        """The chunks of those ids that are there, in the order asked."""
        with self._asked() as server:
            records = server.records([each.document_id for each in chunk_ids])
            keys = [
                key_of(record.generation, each.start, each.end)
                for each, record in zip(chunk_ids, records, strict=True)
                if record is not None and record.info.version == each.version
            ]
            return [chunk for chunk in server.chunks(keys) if chunk is not None]

    def scan(self, where: Filter | None = None) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
        """Every chunk with its vector, as they were when the scan began; kept in a file until they are taken."""
        with tempfile.TemporaryFile() as file:
            with self._asked() as server:
                for record in list(server.all_records()):
                    if matches(where, record.fields):
                        pickle.dump(self._whole(server, record), file)
            pickle.dump(None, file)
            file.seek(0)
            while (rows := pickle.load(file)) is not None:
                yield from rows

    def _whole(self, server: Server, record: Record) -> list[tuple[Chunk, NDArray[np.float32]]]:
        """A document's chunks, of the version that it has by now; none where it is gone."""
        current: Record | None = record
        while current is not None:
            rows = server.rows(current.generation)
            if len(rows) == current.info.chunks:
                return rows
            [newer] = server.records([record.info.id])
            if newer == current:
                held = f"{len(rows)} of its {record.info.chunks} chunks"
                raise StoreError(f"{self._shown}: {record.info.id} has {held}; add it again")
            current = newer
        return []

    def close(self) -> None:
        """Let go of the connection; closing twice is allowed."""
        if not self._closed.is_set():
            self._closed.set()
            self._server.close()

    @contextmanager
    def _asked(self) -> Iterator[Server]:
        if self._closed.is_set():
            raise StoreError(f"{self._shown} is closed; open it again")
        try:
            self._server.check_meta(self._meta)
            yield self._server
        except self._server.errors as error:
            raise self._server.explain(error) from error


_Search = Callable[[Server, int, "Sequence[str] | None"], Sequence[tuple[str, float]]]


def _generation(record: Record | None) -> str:
    return "" if record is None else record.generation


def key_of(generation: str, start: int, end: int) -> str:
    """A row's key."""
    return f"{generation}:{start}:{end}"


def generation_of(key: str) -> str:
    """The generation in a row's key."""
    return key.partition(":")[0]


def info_json(record: Record) -> dict[str, Any]:
    """A record as JSON holds it."""
    info = record.info
    return {
        "id": info.id, "version": info.version, "path": info.path, "title": info.title, "chunks": info.chunks,
        "page_starts": list(info.page_starts), "metadata": dict(info.metadata), "modified": info.modified,
        "generation": record.generation,
    }  # fmt: skip


def record_of(held: dict[str, Any]) -> Record:
    """The record that `info_json` has written."""
    held = dict(held)
    generation = held.pop("generation")
    info = DocumentInfo(**held)
    return Record(replace(info, page_starts=tuple(info.page_starts)), generation)
