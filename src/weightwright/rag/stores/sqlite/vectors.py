"""All vectors of a file as one matrix in memory, kept in step with the file."""

import sqlite3

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096  # vectors read at a time


class VectorTable:
    """Exact nearest neighbours. Only vectors that came since the last search are read."""

    def __init__(self, connection: sqlite3.Connection, width: int) -> None:
        self._connection = connection
        self._width = width
        self._ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._matrix: NDArray[np.float32] = np.zeros((0, width), dtype=np.float32)
        self._version: int | None = None  # PRAGMA data_version changes when another connection commits

    def changed(self) -> None:
        """Say that this connection has written."""
        self._version = None

    def nearest(
        self, vector: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[tuple[int, float]]:
        """The k best (chunk, inner product), best first, ties in order of chunk; only `allowed` ones."""
        self._refresh()
        ids, matrix = self._ids, self._matrix
        if allowed is not None:
            keep = np.isin(ids, allowed)
            ids, matrix = ids[keep], matrix[keep]
        scores = matrix @ vector
        if k < len(scores):
            kth_best = np.partition(scores, len(scores) - k)[len(scores) - k]
            candidates = np.flatnonzero(scores >= kth_best)
        else:
            candidates = np.arange(len(scores))
        order = candidates[np.lexsort((ids[candidates], -scores[candidates]))][:k]
        return [(int(ids[i]), float(scores[i])) for i in order]

    def _refresh(self) -> None:
        """Must be called inside a transaction, so that the version and the rows belong together."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        rows = self._connection.execute("SELECT chunk FROM vectors ORDER BY chunk")
        now = np.fromiter((row[0] for row in rows), dtype=np.int64)
        keep = np.isin(self._ids, now)
        last = int(self._ids[-1]) if len(self._ids) else 0
        new_ids, blocks = [self._ids[keep]], [self._matrix[keep]]
        cursor = self._connection.execute(
            "SELECT chunk, vector FROM vectors WHERE chunk > ? ORDER BY chunk", (last,)
        )
        while rows_read := cursor.fetchmany(_ROWS):
            new_ids.append(np.fromiter((row[0] for row in rows_read), dtype=np.int64))
            joined = b"".join(row[1] for row in rows_read)
            blocks.append(np.frombuffer(joined, dtype="<f4").reshape(-1, self._width).astype(np.float32))
        self._ids, self._matrix = np.concatenate(new_ids), np.concatenate(blocks)
        self._version = version
