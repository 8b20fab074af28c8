"""BM25 over tsvectors of terms that are cut here, as every store cuts them.

PostgreSQL's own ranking (ts_rank) knows neither how rare a term is nor how long a text; so scores are computed from
the positions in the tsvector, as the SQLite store and Lucene compute them.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from weightwright.ports import Chunk
from weightwright.rag.analyze import VERSION, terms
from weightwright.rag.chunk import indexed_text
from weightwright.rag.stores.bm25 import K1, B, idf
from weightwright.rag.stores.postgres.tables import Connection

log = logging.getLogger(__name__)

_MOST_TERMS = 5000  # of a question
_LONGEST_BYTES = 2000  # of a term: a tsvector takes 2046
_MOST_POSITIONS = 255  # of a term in a tsvector
_PAGE = 500


def tsvector(words: Sequence[str]) -> str:
    """The terms of a chunk as PostgreSQL reads a tsvector, a position for each time a term stands there."""
    counts = Counter(map(_cut, words))
    return " ".join(
        f"{_quoted(word)}:{','.join(map(str, range(1, min(n, _MOST_POSITIONS) + 1)))}"
        for word, n in counts.items()
    )


def best(
    connection: Connection, columns: str, wanted: Sequence[str], k: int, clause: str, values: Sequence[Any]
) -> list[Any]:
    """Rows of `columns` with the score behind them, best first; a term that is asked n times counts n times."""
    counts = Counter(map(_cut, wanted[:_MOST_TERMS]))
    held = _held(connection, list(counts))
    if not held:
        return []
    [(chunks, length)] = connection.execute("SELECT sum(chunks), sum(length) FROM documents").fetchall()
    weights = [counts[word] * idf(int(chunks), n) * (K1 + 1) for word, n in held.items()]
    query = f"""
        WITH wanted (term, weight) AS (SELECT * FROM unnest(%s::text[], %s::float8[]))
        SELECT {columns}, s.score FROM (
          SELECT c.id, sum(w.weight * cardinality(u.positions) /
                           (cardinality(u.positions) + %s * (1 - %s + %s * c.length / %s))) AS score
          FROM chunks c JOIN documents d ON d.id = c.document
          CROSS JOIN LATERAL unnest(c.terms) AS u (lexeme, positions, weights) JOIN wanted w ON w.term = u.lexeme
          WHERE c.terms @@ %s::tsquery AND {clause}
          GROUP BY c.id ORDER BY score DESC, c.id LIMIT %s
        ) s JOIN chunks c ON c.id = s.id JOIN documents d ON d.id = c.document ORDER BY s.score DESC, c.id
    """
    mean = max(1.0, float(length) / float(chunks))
    some = " | ".join(map(_quoted, held))
    return connection.execute(query, (list(held), weights, K1, B, B, mean, some, *values, k)).fetchall()


def _held(connection: Connection, words: list[str]) -> dict[str, int]:
    """How many chunks hold each of the terms; only those that any holds."""
    rows = connection.execute(
        "SELECT w.term, n.chunks FROM unnest(%s::text[], %s::text[]) AS w (term, query)"
        " CROSS JOIN LATERAL (SELECT count(*) AS chunks FROM chunks c WHERE c.terms @@ w.query::tsquery) n",
        (words, [_quoted(word) for word in words]),
    )
    return {word: int(n) for word, n in rows.fetchall() if n}


def renew(connection: Connection, shown: str) -> None:
    """Cut the terms of every chunk again where another version of `rag.analyze` cut them; says so in one line."""
    query = "SELECT value FROM meta WHERE key = 'analyzer' FOR UPDATE"
    if connection.execute("SELECT value FROM meta WHERE key = 'analyzer'").fetchone() == (str(VERSION),):
        return
    with connection.transaction():
        if connection.execute(query).fetchone() == (str(VERSION),):
            return  # another process has just done it
        log.warning("%s: indexing the terms of all chunks again, as this version cuts them otherwise", shown)
        last = 0
        while rows := connection.execute(
            "SELECT id, text, heading FROM chunks WHERE id > %s ORDER BY id LIMIT %s", (last, _PAGE)
        ).fetchall():
            cut = [terms(indexed_text(Chunk("", "", 0, len(t), t, None, heading))) for _, t, heading in rows]
            with connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE chunks SET terms = %s::tsvector, length = %s WHERE id = %s",
                    [(tsvector(words), len(words), row[0]) for words, row in zip(cut, rows, strict=True)],
                )
            last = rows[-1][0]
        connection.execute(
            "UPDATE documents d SET length ="
            " coalesce((SELECT sum(c.length) FROM chunks c WHERE c.document = d.id), 0)"
        )
        connection.execute("UPDATE meta SET value = %s WHERE key = 'analyzer'", (str(VERSION),))


def _cut(word: str) -> str:
    return word.encode()[:_LONGEST_BYTES].decode(errors="ignore").replace("\x00", "")


def _quoted(word: str) -> str:
    """A term as it stands in a tsvector or a tsquery."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
