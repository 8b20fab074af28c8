"""BM25 over a file's terms, and the index made again where an older version cut the terms otherwise.

FTS5 holds the postings; its own ranking has fixed k1 and b and gives nothing to a term that half of the chunks
hold, so scores are computed here, as Lucene computes them.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weightwright.errors import StoreError
from weightwright.ports import Chunk
from weightwright.rag.analyze import VERSION, terms
from weightwright.rag.chunk import indexed_text
from weightwright.rag.stores.bm25 import K1, B, idf

log = logging.getLogger(__name__)

_PAGE = 500  # chunks cut at a time
_FREQUENT = 256  # chunks; a term of more is slow to read
_MOST_KEPT = 4_000_000  # of their postings, 16 bytes each
Postings = tuple[NDArray[np.int64], NDArray[np.float64]]
_ANALYZER = "analyzer"  # row of the table meta


class TermTable:
    """Ranks chunks for the terms of a question. Made outside a transaction, used inside one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._norms: NDArray[np.float64] = np.zeros(0)
        self._kept: dict[str, Postings] = {}
        self._version: int | None = None  # PRAGMA data_version changes when another connection commits
        connection.execute("CREATE VIRTUAL TABLE temp.postings USING fts5vocab(main, 'terms', 'instance')")

    def changed(self) -> None:
        """Say that this connection has written."""
        self._version = None

    def best(
        self, wanted: Sequence[str], k: int, allowed: NDArray[np.int64] | None
    ) -> list[tuple[int, float]]:
        """The k best (chunk, score), best first, ties in order of chunk; only `allowed` ones, none without a term.

        A term that stands n times in `wanted` counts n times.
        """
        self._refresh()
        scores = np.zeros(len(self._ids))
        for term, count in Counter(wanted).items():
            chunks, frequencies = self._postings(term)
            if not len(chunks):
                continue
            at = np.searchsorted(self._ids, chunks)
            weight = count * idf(len(self._ids), len(chunks))
            scores[at] += weight * frequencies * (K1 + 1) / (frequencies + self._norms[at])
        if allowed is not None:
            scores[~np.isin(self._ids, allowed)] = 0
        found = np.flatnonzero(scores)
        order = found[np.lexsort((self._ids[found], -scores[found]))][:k]
        return [(int(self._ids[i]), float(scores[i])) for i in order]

    def _postings(self, term: str) -> Postings:
        """The chunks that hold a term, in order, and how often each does; frequent terms are kept."""
        kept = self._kept.get(term)
        if kept is not None:
            return kept
        rows = self._connection.execute(
            "SELECT doc, count(*) FROM temp.postings WHERE term = ? GROUP BY doc", (term,)
        )
        table = np.array(rows.fetchall(), dtype=np.int64).reshape(-1, 2)
        found = table[:, 0].copy(), table[:, 1].astype(np.float64)
        if len(table) >= _FREQUENT and sum(len(chunks) for chunks, _ in self._kept.values()) < _MOST_KEPT:
            self._kept[term] = found
        return found

    def _refresh(self) -> None:
        """Lengths of all chunks, as FTS5 counted their terms, read again where something was written."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._kept.clear()
        rows = self._connection.execute("SELECT id, sz FROM terms_docsize ORDER BY id").fetchall()
        self._ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
        lengths = np.fromiter((_varint(row[1]) for row in rows), dtype=np.float64, count=len(rows))
        self._norms = K1 * (1 - B + B * lengths / max(1.0, lengths.mean() if len(rows) else 1.0))
        self._version = version


def renew(connection: sqlite3.Connection, shown: str, *, write: bool) -> None:
    """Cut the terms of every chunk again where another version of `rag.analyze` cut them; says so in one line.

    Raises StoreError where that is needed and the file cannot be written.
    """
    if _is_current(connection):
        return
    chunks = connection.execute("SELECT count(*) FROM chunks").fetchone()[0]
    if not write:
        raise StoreError(
            f"{shown}: its {chunks} chunks were indexed by another version of weightwright, whose terms are cut "
            "otherwise; open it once where it can be written (weightwright kb list), then it is made again"
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_current(connection):  # another process may have just done it
            if chunks:
                log.warning(
                    "%s: indexing the terms of %d chunks again, as this version cuts them otherwise",
                    shown,
                    chunks,
                )
            _cut_again(connection)
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_ANALYZER, str(VERSION)))
        connection.commit()
    finally:
        if connection.in_transaction:
            connection.rollback()


def _is_current(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_ANALYZER,)).fetchone()
    return row is not None and row[0] == str(VERSION)


def _cut_again(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM terms")
    last = 0
    while True:
        rows = connection.execute(
            "SELECT id, text, heading FROM chunks WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
        ).fetchall()
        for number, text, heading in rows:
            words = " ".join(terms(indexed_text(Chunk("", "", 0, len(text), text, None, heading))))
            connection.execute("INSERT INTO terms (rowid, words) VALUES (?, ?)", (number, words))
        if len(rows) < _PAGE:
            return
        last = rows[-1][0]


def _varint(blob: bytes) -> int:
    """The first of SQLite's variable-length integers (https://sqlite.org/fileformat.html, "Record Format")."""
    value = 0
    for byte in blob[:8]:
        value = value << 7 | (byte & 0x7F)
        if byte < 0x80:
            break
    return value
