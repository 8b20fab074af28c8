"""The store in PostgreSQL: documents, chunks, vectors (pgvector, HNSW) and terms (tsvector, BM25), transactional.

A document is replaced in one transaction, so every reader sees the old version or the new one, whole. A lost
connection is made again: a search is asked again, and so is a replacement, whose outcome is the same if the first
one was written.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np
import psycopg
from numpy.typing import NDArray

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError
from weightwright.ports import Chunk, ChunkId, Document, Hit, Place, Vectors
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.chunk import indexed_text
from weightwright.rag.stores import base
from weightwright.rag.stores.base import Capabilities, DocumentInfo, StoreMeta
from weightwright.rag.stores.filters import Filter
from weightwright.rag.stores.postgres import tables, term_search, vector_search
from weightwright.rag.stores.postgres.tables import Connection
from weightwright.rag.stores.postgres.where import condition

T = TypeVar("T")

_ONE_VIEW = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_PAGE = 500  # rows fetched at a time
_CHUNK = "d.document_id, d.version, c.first, c.last, c.text, c.page, c.heading, c.places"
_CHUNK_COLUMNS = 8
_INFO = "d.document_id, d.version, d.path, d.title, d.chunks, d.page_starts, d.metadata, d.modified"
_INSERT = "COPY chunks (document, first, last, text, page, heading, places, vector, terms, length) FROM STDIN"


def open_postgres(address: StoreAddress, new: StoreMeta | None) -> "PostgresStore":
    """Open the knowledge base at `address`, or make it for `new`; see `rag.stores.opening.OpenStore`."""
    conninfo, schema = tables.split_address(address)

    def connect() -> Connection:
        connection: Connection = psycopg.connect(conninfo, autocommit=True)
        try:
            tables.use(connection, schema)
        except BaseException:
            connection.close()
            raise
        return connection

    try:
        connection = connect()
        try:
            meta = tables.read_meta(connection, schema)
            if meta is None and new is not None:
                tables.create(connection, schema, new, address.shown)
                meta = tables.read_meta(connection, schema)
            if meta is None:
                raise tables.absent(address.shown)
            term_search.renew(connection, address.shown)
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        raise tables.explain(error, address.shown) from error
    return PostgresStore(connection, connect, meta, address.shown)


class PostgresStore:
    """A knowledge base in a schema of a PostgreSQL database; `open_postgres` opens it."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(
        self, connection: Connection, connect: Callable[[], Connection], meta: StoreMeta, shown: str
    ) -> None:
        self._connection, self._connect = connection, connect
        self._meta, self._shown = meta, shown
        self._lock = threading.RLock()
        self._closed = False

    @property
    def meta(self) -> StoreMeta:
        """What the knowledge base was made with."""
        return self._meta

    # -- writing ---------------------------------------------------------------------------------

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Put a document in place of its older version, in one transaction."""
        base.check_replacement(self._meta, document, chunks, vectors)
        words = [terms(indexed_text(chunk)) for chunk in chunks]
        rows = [_row(*each) for each in zip(chunks, np.asarray(vectors, np.float32), words, strict=True)]

        def write(connection: Connection) -> None:
            connection.execute("DELETE FROM documents WHERE document_id = %s", (_text(document.id),))
            number = connection.execute(
                "INSERT INTO documents"
                " (document_id, version, path, title, page_starts, metadata, chunks, length, modified)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (document_id) DO NOTHING RETURNING id",
                (
                    _text(document.id), document.version, _text(document.path), _text(document.title),
                    _json(document.page_starts), _json(dict(document.metadata)), len(chunks),
                    sum(map(len, words)), document.modified,
                ),
            ).fetchone()  # fmt: skip
            if number is None:
                raise _SomebodyElseError
            with connection.cursor() as cursor, cursor.copy(_INSERT) as copy:
                for row in rows:
                    copy.write_row((number[0], *row))
            vector_search.index_when_large(connection, self._meta.width)

        self._written(write)

    def delete(self, document_id: str) -> int:
        """Chunks removed; 0 where there is no such document."""

        def write(connection: Connection) -> int:
            query = "DELETE FROM documents WHERE document_id = %s RETURNING chunks"
            found = connection.execute(query, (_text(document_id),)).fetchone()
            return 0 if found is None else int(found[0])

        return self._written(write)

    # -- searching -------------------------------------------------------------------------------

    def search_vector(self, vector: NDArray[np.float32], k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks nearest to `vector` [width] by inner product, best first."""
        base.check_query(self._meta, vector, k)
        clause, values = condition(where)
        return self._read(lambda c: _hits(vector_search.nearest(c, _COLUMNS, vector, k, clause, values)))

    def search_terms(self, query: str, k: int, where: Filter | None = None) -> list[Hit]:
        """The k chunks that hold the query's terms best (BM25), best first."""
        base.check_k(k)
        wanted = query_terms(query)
        if not wanted:
            return []
        clause, values = condition(where)
        return self._read(lambda c: _hits(term_search.best(c, _COLUMNS, wanted, k, clause, values)))

    # -- reading ---------------------------------------------------------------------------------

    def documents(self, where: Filter | None = None) -> Iterator[DocumentInfo]:
        """Every document, in order of id."""
        clause, values = condition(where)
        query = (
            f"SELECT {_INFO} FROM documents d WHERE {clause} AND (%s OR d.document_id > %s)"
            " ORDER BY d.document_id LIMIT %s"
        )
        last, first = "", True
        while True:
            given = (*values, first, last, _PAGE)
            rows = self._read(lambda c, given=given: c.execute(query, given).fetchall())  # type: ignore[misc]
            for row in rows:
                yield _info(*row)
            if len(rows) < _PAGE:
                return
            last, first = rows[-1][0], False

    def get(self, chunk_ids: Sequence[ChunkId]) -> list[Chunk]:
        """The chunks of those ids that are there, in the order asked."""
        query = (
            f"SELECT w.n, {_CHUNK} FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])"
            " WITH ORDINALITY AS w (document_id, version, first, last, n)"
            " JOIN documents d ON d.document_id = w.document_id AND d.version = w.version"
            " JOIN chunks c ON c.document = d.id AND c.first = w.first AND c.last = w.last ORDER BY w.n"
        )
        asked = (
            [_text(i.document_id) for i in chunk_ids], [i.version for i in chunk_ids],
            [i.start for i in chunk_ids], [i.end for i in chunk_ids],
        )  # fmt: skip
        return [_chunk(row[1:]) for row in self._read(lambda c: c.execute(query, asked).fetchall())]

    def scan(self, where: Filter | None = None) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
        """Every chunk with its vector, as they were when the scan began."""
        clause, values = condition(where)
        query = (
            f"SELECT {_CHUNK}, c.vector::text FROM documents d JOIN chunks c ON c.document = d.id WHERE {clause}"
            " ORDER BY d.document_id, c.first, c.last"
        )
        try:
            with self._connect() as connection, connection.transaction():
                connection.execute(_ONE_VIEW)
                with connection.cursor("scan") as cursor:
                    cursor.itersize = _PAGE
                    for row in cursor.execute(query, values):
                        yield _chunk(row), np.array(json.loads(row[_CHUNK_COLUMNS]), dtype=np.float32)
        except psycopg.Error as error:
            raise tables.explain(error, self._shown) from error

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        with self._lock:
            self._closed = True
            self._connection.close()

    # -- transactions ----------------------------------------------------------------------------

    def _read(self, work: Callable[[Connection], T]) -> T:
        """Do the work in one consistent view of the tables."""

        def seen(connection: Connection) -> T:
            connection.execute(_ONE_VIEW)
            return self._checked(work)(connection)

        return self._again(seen)

    def _written(self, work: Callable[[Connection], T]) -> T:
        """Do the work in one transaction: all of it is written, or nothing."""
        return self._again(self._checked(work))

    def _checked(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        """The work, refused where the knowledge base is another one by now."""

        def done(connection: Connection) -> T:
            if tables.values(connection) != tables.values_of(self._meta):
                raise StoreError(f"{self._shown} has been made anew since it was opened; open it again")
            return work(connection)

        return done

    def _again(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction; once more where the connection was lost, or another process was first."""
        with self._lock, self._translated():
            try:
                return self._transaction(work)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not self._connection.closed:
                    raise  # the server said no
                self._connection = self._connect()
            except _SomebodyElseError:
                pass
            return self._transaction(work)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise StoreError(f"{self._shown} is closed; open it again")
        with self._connection.transaction():
            return work(self._connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise tables.explain(error, self._shown) from error


class _SomebodyElseError(Exception):
    """Another process wrote the same document first."""


_COLUMNS = f"{_CHUNK}, d.path, d.title"


def _row(chunk: Chunk, vector: NDArray[np.float32], words: list[str]) -> tuple[Any, ...]:
    places = _json([place[:2] for place in chunk.places])
    written = "[" + ",".join(map(repr, vector.tolist())) + "]"
    return (
        chunk.start, chunk.end, _text(chunk.text), chunk.page, _text(chunk.heading), places, written,
        term_search.tsvector(words), len(words),
    )  # fmt: skip


def _text(text: str) -> str:
    """PostgreSQL holds no NUL (its documentation, "8.3. Character Types"); one other character keeps the offsets."""
    return text.replace("\x00", "\ufffd")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\\u0000", "\ufffd")


def _hits(rows: Sequence[Sequence[Any]]) -> list[Hit]:
    return [Hit(_chunk(row), float(row[-1]), row[_CHUNK_COLUMNS], row[_CHUNK_COLUMNS + 1]) for row in rows]


def _info(
    document_id: str, version: str, path: str, title: str, chunks: int, page_starts: list[int],
    metadata: dict[str, Any], modified: str,
) -> DocumentInfo:  # fmt: skip
    return DocumentInfo(document_id, version, path, title, chunks, tuple(page_starts), metadata, modified)


def _chunk(row: Sequence[Any]) -> Chunk:
    document_id, version, start, end, text, page, heading = row[: _CHUNK_COLUMNS - 1]
    places = tuple(Place(at, label) for at, label in row[_CHUNK_COLUMNS - 1])
    return Chunk(document_id, version, start, end, text, page, heading, places)
