"""Where a knowledge base lies in a Redis database: its address, its name, what it was made with; errors in words."""

from urllib.parse import unquote, urlsplit, urlunsplit

import redis

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.base import StoreMeta

_MARK = "weightwright"  # in the meta hash: the version of the layout


def split_address(address: StoreAddress) -> tuple[str, str]:
    """What the client connects to, and the knowledge base's name, of `redis://HOST:PORT[/DATABASE]/NAME`."""
    parts = urlsplit(address.url)
    names = [unquote(name) for name in parts.path.split("/") if name]
    database = names.pop(0) if len(names) == 2 and names[0].isdigit() else "0"
    if len(names) != 1:
        raise StoreError(
            f"{address.shown} names no knowledge base; write redis://HOST:6379/NAME, or .../DATABASE_NUMBER/NAME"
        )
    if database != "0":
        raise StoreError(
            f"{address.shown}: the query engine searches database 0 only; leave out the number {database}"
        )
    return urlunsplit((parts.scheme, parts.netloc, "/0", parts.query, "")), names[0]


def connected(url: str, shown: str) -> "redis.Redis":
    """A client of a server that has the query engine. Raises StoreError where it has not, or cannot be reached."""
    client = redis.Redis.from_url(
        url, protocol=3, decode_responses=False, socket_connect_timeout=10, health_check_interval=30
    )
    try:
        client.execute_command("FT._LIST")
    except redis.RedisError as error:
        client.close()
        if "unknown command" in str(error):
            raise StoreError(
                f"{shown}: this server has no query engine (FT.SEARCH); use Redis 8 or Redis Stack, or load "
                "its module redisearch.so"
            ) from error
        raise explain(error, shown) from error
    return client


def read_meta(client: "redis.Redis", name: str) -> StoreMeta | None:
    """What the knowledge base was made with; None where there is none."""
    held = {key.decode(): value.decode() for key, value in client.hgetall(f"{name}:meta").items()}
    if not held:
        return None
    if _MARK not in held:
        raise StoreError(
            f"the keys below {name} are another program's, no knowledge base; choose another name"
        )
    return StoreMeta(
        held["embedder"], int(held["width"]), ChunkSettings.model_validate_json(held["chunks"]),
        held["embedder_address"], int(held[_MARK]),
    )  # fmt: skip


def values_of(meta: StoreMeta) -> dict[str, str]:
    """What the meta hash holds for it."""
    return {
        _MARK: str(meta.schema_version),
        "embedder": meta.embedder,
        "width": str(meta.width),
        "chunks": meta.chunks.model_dump_json(),
        "embedder_address": meta.embedder_address,
    }


def explain(error: Exception, shown: str) -> StoreError:
    """A driver's error as one line with its remedy."""
    text = " ".join(str(error).split())
    if isinstance(error, redis.AuthenticationError):
        return StoreError(f"{shown}: the server refuses this user ({text}); check user and password")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return StoreError(f"{shown} cannot be reached ({text}); check that the server runs and its address")
    if "OOM" in text:
        return StoreError(
            f"{shown}: the server's memory is full (maxmemory); raise it, and run the same command again"
        )
    return StoreError(f"{shown}: {text}")
