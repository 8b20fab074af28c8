"""Finished answers, kept at once and for good: one SQLite file, one row for each key."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from weightwright.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")

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


def digest(value: Any) -> str:
    """A short hash of anything JSON can write: the key of an answer is that of all that may change it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class Answers(Generic[R]):
    """A file of finished answers, each a flat dataclass of type `record` (tuples, no lists, in its fields).

    One process at a time: a second one is refused with StoreError.
    """

    def __init__(self, file: Path, record: type[R]) -> None:
        if file.parent.is_file():
            raise StoreError(f"{file.parent} is a file; give a folder for the answers")
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._record = file, record
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

    def finished(self, keys: Iterable[str]) -> dict[str, R]:
        """The records of those keys that are kept."""
        wanted = set(keys)
        rows = self._run("SELECT key, record FROM answers").fetchall()
        return {key: self._read(text) for key, text in rows if key in wanted}

    def keep(self, key: str, record: R, *, arm: str, question: str) -> None:
        """Store a finished record durably; when this returns, a kill cannot lose it.

        `arm` (who was asked) and `question` (its id) are for people who look into the file.
        """
        self._run(
            "INSERT OR REPLACE INTO answers (key, arm, question, record) VALUES (?, ?, ?, ?)",
            (key, arm, question.encode("utf-8", "replace").decode(), json.dumps(asdict(record))),
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

    def _read(self, text: str) -> R:
        values = json.loads(text)
        return self._record(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.DatabaseError) -> StoreError:
        if "locked" in str(error):
            return StoreError(
                f"{self._file} is in use by another process; wait for it or give another folder"
            )
        remedy = (
            "free some space and run again" if "full" in str(error) else "move the file away to start anew"
        )
        return StoreError(f"{self._file}: {error}; {remedy}")
