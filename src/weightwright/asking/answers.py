"""Finished answers, kept at once and for good: one SQLite file, one row for each (question, arm) asked."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from weightwright.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    arm TEXT NOT NULL,
    question TEXT NOT NULL,
    record TEXT NOT NULL,
    finished_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS sessions (arm TEXT NOT NULL, settings TEXT NOT NULL, peak_bytes INTEGER);
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one question in one arm. `error` is set and `answer` None when the question failed.

    `seconds` is the share of the arm's time this question took (shares add up to the whole, however many
    were under way together); `latency_s` is what a user would have waited.
    """

    arm: str
    question: str
    answer: str | None
    error: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    latency_s: float = 0.0
    passages: tuple[dict[str, Any], ...] = ()
    citations: tuple[dict[str, Any], ...] = ()
    dropped_marks: int = 0


class Answers:
    """The file of finished answers. One process at a time: a second one is refused with StoreError."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._connection = sqlite3.connect(file, timeout=0.5, isolation_level=None)
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._explained(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def finished(self, keys: Iterable[str]) -> dict[str, Record]:
        """The records of those keys that are finished."""
        wanted = set(keys)
        rows = self._run("SELECT key, record FROM answers").fetchall()
        return {key: _record(text) for key, text in rows if key in wanted}

    def keep(self, key: str, record: Record) -> None:
        """Store a finished record durably; when this returns, a kill cannot lose it."""
        self._run(
            "INSERT OR REPLACE INTO answers (key, arm, question, record) VALUES (?, ?, ?, ?)",
            (
                key,
                record.arm,
                record.question.encode("utf-8", "replace").decode(),
                json.dumps(asdict(record)),
            ),
        )

    def keep_peak(self, arm: str, settings: str, peak_bytes: int | None) -> None:
        """Note the peak memory of asking an arm under the settings with this hash."""
        if peak_bytes is not None:
            self._run("INSERT INTO sessions VALUES (?, ?, ?)", (arm, settings, peak_bytes))

    def peak(self, arm: str, settings: str) -> int | None:
        """The highest peak noted for an arm; None where none could be measured."""
        row = self._run(
            "SELECT max(peak_bytes) FROM sessions WHERE arm = ? AND settings = ?", (arm, settings)
        ).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.DatabaseError) -> StoreError:
        if "locked" in str(error):
            return StoreError(f"{self._file} is in use by another compare; wait for it or give another --out")
        remedy = (
            "free some space and run again" if "full" in str(error) else "move the file away to start anew"
        )
        return StoreError(f"{self._file}: {error}; {remedy}")


def _record(text: str) -> Record:
    values = json.loads(text)
    return Record(**values | {name: tuple(values[name]) for name in ("passages", "citations")})
