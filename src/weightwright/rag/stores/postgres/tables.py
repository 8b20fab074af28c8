"""The tables of a knowledge base in PostgreSQL: one schema for each; how they are made, opened and refused."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError
from weightwright.rag.analyze import VERSION
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.base import StoreAbsentError, StoreMeta

Connection = psycopg.Connection[Any]

_MARK = "weightwright"  # row of the table meta that says whose it is
_CONNECT_S = 10
_LEAST_VECTOR = (0, 8)  # of pgvector: iterative scans

# Ids are never used again. Terms are a tsvector of terms that are cut here; `length` counts them.
_TABLES = """
CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE documents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  document_id text COLLATE "C" NOT NULL UNIQUE,
  version text NOT NULL,
  path text NOT NULL,
  title text NOT NULL,
  page_starts jsonb NOT NULL,
  metadata jsonb NOT NULL,
  chunks integer NOT NULL,
  length bigint NOT NULL,
  modified text NOT NULL
);
CREATE TABLE chunks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  document bigint NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
  first bigint NOT NULL,
  last bigint NOT NULL,
  text text NOT NULL,
  page integer,
  heading text NOT NULL,
  places jsonb NOT NULL,
  vector vector({width}) NOT NULL,
  terms tsvector NOT NULL,
  length integer NOT NULL,
  UNIQUE (document, first, last)
);
CREATE INDEX chunks_terms ON chunks USING gin (terms) WITH (fastupdate = off);
"""


def split_address(address: StoreAddress) -> tuple[str, str]:
    """What libpq connects to, and the schema's name, of `postgresql://USER@HOST/DATABASE/NAME`."""
    parts = urlsplit(address.url)
    names = [unquote(name) for name in parts.path.split("/") if name]
    if len(names) != 2:
        raise StoreError(
            f"{address.shown} names {len(names)} of two parts after the host; write the database and the "
            "knowledge base's name: postgresql://USER@HOST/DATABASE/NAME"
        )
    name = names[1]
    if len(name.encode()) > 63 or name.startswith("pg_") or "\x00" in name:
        raise StoreError(
            f"{address.shown}: {name!r} cannot name a knowledge base here; use at most 63 bytes, and no pg_ in front"
        )
    query = dict(parse_qsl(parts.query))
    query.setdefault("connect_timeout", str(_CONNECT_S))
    query.setdefault("application_name", "weightwright")
    path = parts.path.rstrip("/").rsplit("/", 1)[0]
    return urlunsplit(("postgresql", parts.netloc, path, urlencode(query), "")), name


def read_meta(connection: Connection, schema: str) -> StoreMeta | None:
    """What the knowledge base was made with; None where there is none."""
    if not _has_meta(connection, schema):
        return None
    held = values(connection)
    return StoreMeta(
        embedder=held["embedder"],
        width=int(held["width"]),
        chunks=ChunkSettings.model_validate_json(held["chunks"]),
        embedder_address=held["embedder_address"],
        schema_version=int(held[_MARK]),
    )


def values(connection: Connection) -> dict[str, str]:
    """What the table meta holds of a StoreMeta."""
    return dict(connection.execute("SELECT key, value FROM meta WHERE key <> 'analyzer'").fetchall())


def values_of(meta: StoreMeta) -> dict[str, str]:
    """What the table meta holds for it."""
    return {
        _MARK: str(meta.schema_version),
        "embedder": meta.embedder,
        "width": str(meta.width),
        "chunks": meta.chunks.model_dump_json(),
        "embedder_address": meta.embedder_address,
    }


def create(connection: Connection, schema: str, meta: StoreMeta, shown: str) -> None:
    """Make the schema and its tables in one transaction, unless another process has just done so."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{_MARK}/{schema}",))
        if _has_meta(connection, schema):
            return
        _make_extension(connection, shown)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        use(connection, schema)
        connection.execute(sql.SQL(_TABLES).format(width=sql.Literal(meta.width)))
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO meta VALUES (%s, %s)", [*values_of(meta).items(), ("analyzer", str(VERSION))]
            )


def use(connection: Connection, schema: str) -> None:
    """Let names without a schema mean those of the knowledge base, and those of pgvector."""
    found = _extension_schema(connection)
    names = [schema] if found is None else [schema, found]
    connection.execute(
        sql.SQL("SET search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, names)))
    )


def absent(shown: str) -> StoreAbsentError:
    """There is no knowledge base under this name."""
    return StoreAbsentError(
        f"there is no knowledge base at {shown}; make one: weightwright kb add {shown} PATH"
    )


def explain(error: psycopg.Error, shown: str) -> StoreError:
    """A driver's error as one line with its remedy."""
    text = " ".join(str(error).split()) or type(error).__name__
    state = error.sqlstate or ""
    if state.startswith("28") or "authentication failed" in text or 'role "' in text:
        return StoreError(f"{shown}: the server refuses this user ({text}); check user and password")
    if state == "3D000" or ('database "' in text and "does not exist" in text):
        return StoreError(f"{shown}: there is no such database ({text}); make it first: createdb NAME")
    if state == "42501":
        return StoreError(f"{shown}: this user lacks a right ({text}); grant it, or use another user")
    if state == "53100":
        return StoreError(
            f"{shown}: the server's disk is full; free some space and run the same command again"
        )
    if isinstance(error, psycopg.OperationalError) and not state:
        return StoreError(f"{shown} cannot be reached ({text}); check that the server runs and its address")
    return StoreError(f"{shown}: {text}")


def one(connection: Connection, query: str, values: Sequence[Any] = ()) -> Any:
    """The first column of the only row."""
    row = connection.execute(query, values).fetchone()
    assert row is not None  # an aggregate gives one row
    return row[0]


def _has_meta(connection: Connection, schema: str) -> bool:
    """Whether the schema holds a knowledge base of ours."""
    table = sql.Identifier(schema, "meta").as_string(connection)
    if one(connection, "SELECT to_regclass(%s)", (table,)) is None:
        return False
    columns = one(
        connection,
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = %s AND table_name = 'meta'"
        " AND column_name IN ('key', 'value')",
        (schema,),
    )
    query = sql.SQL("SELECT 1 FROM {}.meta WHERE key = %s").format(sql.Identifier(schema))
    if columns != 2 or connection.execute(query, (_MARK,)).fetchone() is None:
        raise StoreError(f"the schema {schema} is another program's, no knowledge base; choose another name")
    return True


def _extension_schema(connection: Connection) -> str | None:
    """The schema that pgvector lies in; None where it is not made in this database, StoreError if it is old."""
    found = connection.execute(
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'"
    ).fetchone()
    if found is None:
        return None
    version = tuple(int(part) for part in re.findall(r"\d+", found[1])[:2])
    if version < _LEAST_VECTOR:
        raise StoreError(
            f"this database has pgvector {found[1]}, {'.'.join(map(str, _LEAST_VECTOR))} is needed; install it and "
            "let its owner run: ALTER EXTENSION vector UPDATE"
        )
    return str(found[0])


def _make_extension(connection: Connection, shown: str) -> None:
    if _extension_schema(connection) is not None:
        return
    try:
        connection.execute("CREATE EXTENSION vector SCHEMA public")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise StoreError(
            f"{shown}: the server lacks pgvector; install it there (Debian: postgresql-NN-pgvector, or the image "
            "pgvector/pgvector), and run the same command again"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"{shown}: this user may not make the extension; let an administrator run: CREATE EXTENSION vector"
        ) from error
