"""The embedded store: one SQLite file with documents, chunks, terms (FTS5, BM25) and vectors (exact search).

A document is replaced in one transaction, so a reader, or a process that opens the file after a kill, sees
the old version or the new one, whole. Vectors are searched in a matrix held in memory, which follows what
this and other processes write.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError
from weightwright.ports import Chunk, ChunkId, Document, Hit, Place, Vectors
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.chunk import indexed_text
from weightwright.rag.stores import base
from weightwright.rag.stores.base import Capabilities, DocumentInfo, StoreMeta
from weightwright.rag.stores.filters import Filter
from weightwright.rag.stores.sqlite import file
from weightwright.rag.stores.sqlite.terms import TermTable, renew
from weightwright.rag.stores.sqlite.vectors import VectorTable
from weightwright.rag.stores.sqlite.where import condition

_PAGE = 500  # rows read at a time, and parameters in one statement
_MOST_TERMS = 5000  # of a question
_CHUNK = "d.document_id, d.version, c.start, c.end, c.text, c.page, c.heading, c.places"
_CHUNK_COLUMNS = 8
_JOIN = "chunks c JOIN documents d ON d.id = c.document"
_INFO = "d.document_id, d.version, d.path, d.title, d.chunks, d.page_starts, d.metadata, d.modified"


def open_sqlite(address: StoreAddress, new: StoreMeta | None) -> "SqliteStore":
    """Open the file of `address`, or make it for `new`; see `rag.stores.opening.OpenStore`."""
    assert address.path is not None  # sqlite has no servers
    connection, meta = file.open_file(address.path, new)
    shown = str(address.path)
    try:
        renew(connection, shown, write=new is not None or file.is_writable(address.path))
        return SqliteStore(connection, meta, shown)
    except sqlite3.Error as error:
        connection.close()
        raise file.explain(error, shown) from error
    except BaseException:
        connection.close()
        raise


class SqliteStore:
    """A knowledge base in one file; `open_sqlite` opens it."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, connection: sqlite3.Connection, meta: StoreMeta, shown: str) -> None:
        self._connection = connection
        self._meta = meta
        self._shown = shown
        self._lock = threading.RLock()
        self._vectors = VectorTable(connection, meta.width)
        self._terms = TermTable(connection)
        self._chunk, self._info = _columns(_CHUNK, connection), _columns(_INFO, connection)
        self._closed = False
        self._changes = -1  # of the file by others, when its settings were last read

    @property
    def meta(self) -> StoreMeta:
        """What the knowledge base was made with."""
        return self._meta

    # -- writing ---------------------------------------------------------------------------------

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Put a document in place of its older version, in one transaction."""
        base.check_replacement(self._meta, document, chunks, vectors)
        matrix = np.ascontiguousarray(vectors, dtype="<f4")
        words = [" ".join(terms(indexed_text(chunk))) for chunk in chunks]  # outside the lock: it is slow
        with self._writing() as connection:
            self._remove(connection, document.id)
            row = connection.execute(
                "INSERT INTO documents"
                " (document_id, version, path, title, page_starts, metadata, chunks, modified)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    document.id,
                    document.version,
                    document.path,
                    document.title,
                    json.dumps(document.page_starts),
                    json.dumps(dict(document.metadata), ensure_ascii=False),
                    len(chunks),
                    document.modified,
                ),
            ).lastrowid
            for chunk, vector, cut in zip(chunks, matrix, words, strict=True):
                number = connection.execute(
                    "INSERT INTO chunks (document, start, end, text, page, heading, places)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (row, chunk.start, chunk.end, chunk.text, chunk.page, chunk.heading, _places(chunk)),
                ).lastrowid
                connection.execute(
                    "INSERT INTO vectors (chunk, vector) VALUES (?, ?)", (number, vector.tobytes())
                )
                connection.execute("INSERT INTO terms (rowid, words) VALUES (?, ?)", (number, cut))

    def delete(self, document_id: str) -> int:
        """Chunks removed; 0 where there is no such document."""
        with self._writing() as connection:
            return self._remove(connection, document_id)

    @staticmethod
    def _remove(connection: sqlite3.Connection, document_id: str) -> int:
        row = connection.execute("SELECT id FROM documents WHERE document_id = ?", (document_id,)).fetchone()
        if row is None:
            return 0
        inside = "(SELECT id FROM chunks WHERE document = ?)"
        connection.execute(f"DELETE FROM terms WHERE rowid IN {inside}", row)
        connection.execute(f"DELETE FROM vectors WHERE chunk IN {inside}", row)
        removed = connection.execute("DELETE FROM chunks WHERE document = ?", row).rowcount
        connection.execute("DELETE FROM documents WHERE id = ?", row)
        return removed

    # -- searching -------------------------------------------------------------------------------

    def search_vector(self, vector: NDArray[np.float32], k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks nearest to `vector` [width] by inner product, best first."""
        base.check_query(self._meta, vector, k)
        with self._reading() as connection:
            allowed = None if where is None else self._allowed(connection, where)
            return self._hits(connection, self._vectors.nearest(np.asarray(vector, np.float32), k, allowed))

    def search_terms(self, query: str, k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks that hold the query's terms best (BM25), best first."""
        base.check_k(k)
        wanted = query_terms(query)[:_MOST_TERMS]
        if not wanted:
            return []
        with self._reading() as connection:
            allowed = None if where is None else self._allowed(connection, where)
            return self._hits(connection, self._terms.best(wanted, k, allowed))

    @staticmethod
    def _allowed(connection: sqlite3.Connection, where: Filter) -> NDArray[np.int64]:
        clause, values = condition(where)
        rows = connection.execute(f"SELECT c.id FROM {_JOIN} WHERE {clause}", values)
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def _hits(self, connection: sqlite3.Connection, scored: Sequence[tuple[int, float]]) -> list[Hit]:
        rows: dict[int, Any] = {}
        for first in range(0, len(scored), _PAGE):
            numbers = [number for number, _ in scored[first : first + _PAGE]]
            marks = ",".join("?" * len(numbers))
            query = f"SELECT c.id, {self._chunk}, d.path, d.title FROM {_JOIN} WHERE c.id IN ({marks})"
            rows.update((row[0], row[1:]) for row in connection.execute(query, numbers))
        return [
            Hit(_chunk_of(row), float(score), *row[_CHUNK_COLUMNS:])
            for number, score in scored
            if (row := rows.get(number)) is not None
        ]

    # -- reading ---------------------------------------------------------------------------------

    def documents(self, where: Filter | None = None) -> Iterator[DocumentInfo]:
        """Every document, in order of id."""
        clause, values = condition(where)
        last = ""
        first = True
        while True:
            with self._reading() as connection:
                rows = connection.execute(
                    f"SELECT {self._info} FROM documents d WHERE {clause} AND (? OR d.document_id > ?)"
                    " ORDER BY d.document_id LIMIT ?",
                    (*values, first, last, _PAGE),
                ).fetchall()
            for row in rows:
                yield _info_of(*row)
            if len(rows) < _PAGE:
                return
            last, first = rows[-1][0], False

    def get(self, chunk_ids: Sequence[ChunkId]) -> list[Chunk]:
        """The chunks of those ids that are there, in the order asked."""
        query = (
            f"SELECT {self._chunk} FROM documents d JOIN chunks c ON c.document = d.id"
            " WHERE d.document_id = ? AND d.version = ? AND c.start = ? AND c.end = ?"
        )
        with self._reading() as connection:
            rows = [connection.execute(query, tuple(chunk_id)).fetchone() for chunk_id in chunk_ids]
        return [_chunk_of(row) for row in rows if row is not None]

    def scan(self, where: Filter | None = None) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
        """Every chunk with its vector, as they were when the scan began."""
        clause, values = condition(where)
        with self._translated(), closing(file.reader(self._shown)) as connection:
            connection.execute("BEGIN")
            query = (
                f"SELECT {self._chunk}, v.vector FROM documents d JOIN chunks c ON c.document = d.id"
                f" JOIN vectors v ON v.chunk = c.id WHERE {clause} ORDER BY d.document_id, c.start, c.end"
            )
            for row in connection.execute(query, values):
                yield _chunk_of(row), np.frombuffer(row[_CHUNK_COLUMNS], dtype="<f4").astype(np.float32)

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    # -- transactions ----------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file for the block."""
        with self._lock, self._translated():
            self._open()
            self._connection.execute("BEGIN")
            try:
                self._check_meta()
                yield self._connection
            finally:
                self._connection.rollback()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block is written, or nothing."""
        with self._lock, self._translated():
            self._open()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._check_meta()
                yield self._connection
                self._connection.commit()
            finally:
                if self._connection.in_transaction:
                    self._connection.rollback()
            self._vectors.changed()
            self._terms.changed()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise file.explain(error, self._shown) from error

    def _check_meta(self) -> None:
        """Another process may have made the knowledge base anew: vectors of two embedders are never compared."""
        changes = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if changes != self._changes:
            found = file.read_meta(self._connection)
            if found != self._meta:
                raise StoreError(
                    f"{self._shown} has been made anew since it was opened, with embedder {found.embedder}; "
                    "open it again"
                )
            self._changes = changes

    def _open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._shown} is closed; open it again")


def _columns(names: str, connection: sqlite3.Connection) -> str:
    """The columns to select; a file of format 1 that cannot be written has not all of them."""
    for table, column, instead in file.lacking(connection):
        names = names.replace(f"{table[0]}.{column}", instead)
    return names


def _places(chunk: Chunk) -> str:
    return json.dumps([place[:2] for place in chunk.places], ensure_ascii=False)


def _chunk_of(row: Sequence[Any]) -> Chunk:
    places = tuple(Place(start, label) for start, label in json.loads(row[_CHUNK_COLUMNS - 1]))
    document_id, version, start, end, text, page, heading = row[: _CHUNK_COLUMNS - 1]
    return Chunk(document_id, version, start, end, text, page, heading, places)


def _info_of(
    document_id: str,
    version: str,
    path: str,
    title: str,
    chunks: int,
    page_starts: str,
    metadata: str,
    modified: str,
) -> DocumentInfo:
    starts = tuple(json.loads(page_starts))
    return DocumentInfo(document_id, version, path, title, chunks, starts, json.loads(metadata), modified)
