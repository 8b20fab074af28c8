"""The file under the SQLite store: its tables, how it is opened, and what can be wrong with it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from weightwright.errors import StoreError
from weightwright.rag.analyze import VERSION
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.base import SCHEMA_VERSION, StoreAbsentError, StoreMeta

APPLICATION_ID = 0x7765_6967  # "weig": marks the file as ours
_HEADER = b"SQLite format 3\x00"
_BUSY_S = 30.0  # how long a writer waits for another process's writer

# Ids are never used again (AUTOINCREMENT), so that a cached vector cannot stand for another chunk.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  document_id TEXT NOT NULL UNIQUE,
  version TEXT NOT NULL,
  path TEXT NOT NULL,
  title TEXT NOT NULL,
  page_starts TEXT NOT NULL,
  metadata TEXT NOT NULL,
  chunks INTEGER NOT NULL,
  modified TEXT NOT NULL DEFAULT ''
);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  document INTEGER NOT NULL REFERENCES documents (id),
  start INTEGER NOT NULL,
  end INTEGER NOT NULL,
  text TEXT NOT NULL,
  page INTEGER,
  heading TEXT NOT NULL,
  places TEXT NOT NULL DEFAULT '[]',
  UNIQUE (document, start, end)
);
CREATE TABLE vectors (chunk INTEGER PRIMARY KEY REFERENCES chunks (id), vector BLOB NOT NULL);
CREATE VIRTUAL TABLE terms USING fts5 (words, tokenize = "ascii tokenchars '.'");
"""

# columns that a file of format 1 lacks: table, column, what stands for its values
SINCE_FORMAT_2 = (("documents", "modified", "''"), ("chunks", "places", "'[]'"))


def open_file(path: Path, new: StoreMeta | None) -> tuple[sqlite3.Connection, StoreMeta]:
    """The connection and what the file was made with; where there are no tables, they are made for `new`.

    Raises StoreAbsentError where there is no file, StoreError where it is foreign, broken or newer than
    this version.
    """
    shown = str(path)
    if _is_absent(path) and new is None:
        raise _absent(path)
    write = new is not None or is_writable(path)
    try:
        connection = _connect(path, write=write)
    except sqlite3.Error as error:
        raise explain(error, shown) from error
    try:
        return connection, _read_or_create(connection, new, shown, write=write)
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, shown) from error
    except BaseException:
        connection.close()
        raise


def adopt(path: Path, beside: Path) -> bool:
    """Put what the file `beside` holds in the place of what `path` holds, in one transaction; then remove it.

    False, with nothing changed, where the documents of the two are not the same any more.
    """
    try:
        with closing(_connect(path, write=True)) as connection:
            connection.execute("ATTACH ? AS beside", (str(beside),))
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not _same_documents(connection):
                    return False
                _take_over(connection)
                connection.commit()
            finally:
                if connection.in_transaction:
                    connection.rollback()
    except sqlite3.Error as error:
        raise explain(error, str(path)) from error
    discard(beside)
    return True


def discard(path: Path) -> None:
    """Remove a knowledge base's file, and what SQLite has put beside it."""
    for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
        path.with_name(name).unlink(missing_ok=True)


def _same_documents(connection: sqlite3.Connection) -> bool:
    held = "SELECT document_id, version FROM {}.documents"
    one, other = held.format("main"), held.format("beside")
    return not any(
        connection.execute(f"SELECT EXISTS ({a} EXCEPT {b})").fetchone()[0]
        for a, b in ((one, other), (other, one))
    )


def _take_over(connection: sqlite3.Connection) -> None:
    """Replace all rows by those of the attached file, under ids that were never used here."""
    used = dict(connection.execute("SELECT name, seq FROM main.sqlite_sequence"))
    documents, chunks = used.get("documents", 0), used.get("chunks", 0)
    for table in ("terms", "vectors", "chunks", "documents", "meta"):
        connection.execute(f"DELETE FROM main.{table}")
    for table, columns, moved in (
        (
            "documents",
            "document_id, version, path, title, page_starts, metadata, chunks, modified",
            (documents,),
        ),
        ("chunks", "start, end, text, page, heading, places", (chunks, documents)),
    ):
        ids = ", ".join(f"{name} + ?" for name in ("id", "document")[: len(moved)])
        names = ids.replace(" + ?", "")
        connection.execute(
            f"INSERT INTO main.{table} ({names}, {columns}) SELECT {ids}, {columns} FROM beside.{table}",
            moved,
        )
    connection.execute("INSERT INTO main.vectors SELECT chunk + ?, vector FROM beside.vectors", (chunks,))
    connection.execute(
        "INSERT INTO main.terms (rowid, words) SELECT rowid + ?, words FROM beside.terms", (chunks,)
    )
    connection.execute("INSERT INTO main.meta SELECT key, value FROM beside.meta")


def reader(shown: str) -> sqlite3.Connection:
    """A second connection, for reading a long time without holding up the first."""
    path = Path(shown)
    return _connect(path, write=is_writable(path))


def is_writable(path: Path) -> bool:
    """Whether the file can be written here, and what SQLite puts beside it."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def explain(error: sqlite3.Error, shown: str) -> StoreError:
    """An SQLite error as one line with its remedy."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreError(
            f"{shown}: another process has been writing for {_BUSY_S:.0f} s; try again when it is done"
        )
    if "full" in text:
        return StoreError(f"{shown}: the disk is full; free some space and run the same command again")
    if "readonly" in text or "unable to open" in text:
        return StoreError(
            f"{shown}: cannot be opened for writing; check the rights of the file and its folder"
        )
    if "not a database" in text or "malformed" in text:
        return StoreError(f"{shown} is damaged ({text}); make it again from its documents")
    return StoreError(f"{shown}: {text}")


def _absent(path: Path) -> StoreAbsentError:
    problem = (
        f"{path} is empty, no knowledge base" if path.exists() else f"there is no knowledge base at {path}"
    )
    return StoreAbsentError(f"{problem}; make one: weightwright kb add {path} PATH")


def _is_absent(path: Path) -> bool:
    """Whether the file is still to be made. Raises StoreError where it cannot be a knowledge base."""
    if path.is_dir():
        raise StoreError(
            f"{path} is a folder, expected the file of a knowledge base, for example {path / 'kb.db'}"
        )
    if not path.exists():
        if not path.parent.is_dir():
            raise StoreError(
                f"there is no knowledge base at {path}: the folder {path.parent} does not exist; create it first"
            )
        return True
    if not path.is_file():
        raise StoreError(f"{path} is not a file; choose another place for the knowledge base")
    try:
        with path.open("rb") as file:
            start = file.read(len(_HEADER))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; check its rights") from error
    if start and start != _HEADER:
        raise StoreError(f"{path} is not a knowledge base (no SQLite file); choose another file")
    return not start


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Without `write` the file is only read; with no writer's log beside it, as one that nobody changes.

    SQLite would else make files beside it (https://sqlite.org/wal.html, "Read-Only Databases").
    """
    place = path.absolute().as_uri()
    if not write:
        place += "?mode=ro" if path.with_name(f"{path.name}-wal").exists() else "?immutable=1"
    connection = sqlite3.connect(
        place, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _read_or_create(
    connection: sqlite3.Connection, new: StoreMeta | None, shown: str, *, write: bool
) -> StoreMeta:
    _check_owner(connection, shown)
    if not _has_tables(connection):
        if new is None:
            raise _absent(Path(shown))
        _create(connection, new)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{shown} was written by a newer version (format {version}, this one reads "
            f"up to {SCHEMA_VERSION}); "
            "run: pip install --upgrade weightwright"
        )
    if write:
        _use_wal(connection)
        _upgrade(connection)
    return read_meta(connection)


def read_meta(connection: sqlite3.Connection) -> StoreMeta:
    """What the file is made with."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    values = dict(connection.execute("SELECT key, value FROM meta"))
    return StoreMeta(
        embedder=values["embedder"],
        width=int(values["width"]),
        chunks=ChunkSettings.model_validate_json(values["chunks"]),
        embedder_address=values["embedder_address"],
        schema_version=version,
    )


def _check_owner(connection: sqlite3.Connection, shown: str) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner != APPLICATION_ID and (owner != 0 or _has_tables(connection)):
        raise StoreError(f"{shown} is another program's SQLite file, no knowledge base; choose another file")


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _create(connection: sqlite3.Connection, meta: StoreMeta) -> None:
    """Make the tables in one transaction, unless another process has just done so."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _has_tables(connection):
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            values = {
                "embedder": meta.embedder,
                "width": str(meta.width),
                "chunks": meta.chunks.model_dump_json(),
                "embedder_address": meta.embedder_address,
                "analyzer": str(VERSION),
            }
            connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()
    finally:
        if connection.in_transaction:
            connection.rollback()


def lacking(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Those of `SINCE_FORMAT_2` that the file lacks."""
    return [
        new for new in SINCE_FORMAT_2
        if new[1] not in {row[1] for row in connection.execute(f"PRAGMA table_info({new[0]})")}
    ]  # fmt: skip


def _upgrade(connection: sqlite3.Connection) -> None:
    """Give an older file the columns that it lacks, unless another process has just done so."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION and not lacking(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, column, instead in lacking(connection):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT {instead}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()
    finally:
        if connection.in_transaction:
            connection.rollback()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers go on while one process writes. A power cut may lose the last documents but halves none."""
    with closing(connection.execute("PRAGMA journal_mode = WAL")):
        connection.execute("PRAGMA synchronous = NORMAL")
