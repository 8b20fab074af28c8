"""Nearest vectors by pgvector: exact in a small knowledge base, through an HNSW index in a large one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.rag.stores.postgres.tables import Connection, one

INDEX_FROM = 20_000  # chunks: an exact search of fewer takes less than 50 ms
_INDEX = "chunks_vector"
_WIDEST = 2000  # of an index over f32, 4000 over halves (pgvector's README, "HNSW")
_LEAST_EF, _MOST_EF = 100, 1000


def index_when_large(connection: Connection, width: int) -> None:
    """Make the index where there are chunks enough for one; inside a transaction."""
    chunks = one(connection, "SELECT coalesce(sum(chunks), 0) FROM documents")
    if chunks < INDEX_FROM or width > 2 * _WIDEST:
        return
    if one(connection, "SELECT to_regclass(%s)", (_INDEX,)) is None:
        connection.execute("SET LOCAL maintenance_work_mem = '1GB'")
        connection.execute(
            f"CREATE INDEX {_INDEX} ON chunks USING hnsw ({_column(width)} {_kind(width)}_ip_ops)"
        )


def nearest(
    connection: Connection,
    columns: str,
    vector: NDArray[np.float32],
    k: int,
    clause: str,
    values: Sequence[Any],
) -> list[Any]:
    """Rows of `columns` with the inner product behind them, best first; inside a transaction."""
    width = len(vector)
    connection.execute(f"SET LOCAL hnsw.ef_search = {min(_MOST_EF, max(_LEAST_EF, 2 * k))}")
    connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    written = "[" + ",".join(map(repr, np.asarray(vector, np.float32).tolist())) + "]"
    query = (
        f"SELECT {columns}, -(c.vector <#> %s::vector) FROM chunks c JOIN documents d ON d.id = c.document"
        f" WHERE {clause} ORDER BY {_column(width, 'c.')} <#> %s::{_kind(width)}({width}) LIMIT %s"
    )
    return connection.execute(query, (written, *values, written, k)).fetchall()


def _kind(width: int) -> str:
    return "vector" if width <= _WIDEST else "halfvec"


def _column(width: int, of: str = "") -> str:
    return f"{of}vector" if width <= _WIDEST else f"({of}vector::halfvec({width}))"
