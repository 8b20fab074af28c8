"""Redis with its query engine, as `generations.Server` asks it.

Below the knowledge base's name there are: a hash for each chunk (`NAME:c:KEY`), which the index holds; the records
(`NAME:d`, a hash of JSON) and their ids in order (`NAME:ids`); the writes under way (`NAME:w`); `NAME:meta`.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray
from redis.commands.search.field import TagField, TextField, VectorField
from redis.commands.search.index_definition import IndexDefinition, IndexType
from redis.commands.search.query import Query

from weightwright.errors import StoreError
from weightwright.ports import Chunk, Place
from weightwright.rag.stores.base import StoreMeta
from weightwright.rag.stores.generations import Mark, Record, Row, info_json, record_of
from weightwright.rag.stores.redis.keyspace import explain, values_of

INDEX_FROM = 20_000  # chunks: from here on an HNSW index, below it an exact search
_PAGE = 500  # keys asked for at a time
_LEAST_EF = 200
_TEXT = ("document_id", "version", "first", "last", "text", "page", "heading", "places")
_WAIT_S = 0.02


class RedisServer:
    """A knowledge base in a Redis database."""

    errors: tuple[type[Exception], ...] = (redis.RedisError,)

    def __init__(self, client: "redis.Redis", name: str, width: int, shown: str) -> None:
        self._client, self._name, self._width, self._shown = client, name, width, shown

    def explain(self, error: Exception) -> StoreError:
        """A driver's error as one line with its remedy."""
        return explain(error, self._shown)

    # -- chunks ----------------------------------------------------------------------------------

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Store chunks; Redis indexes each with the command that writes it."""
        with self._client.pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.sadd(self._key_of(f"g:{row.generation}"), row.key)
                pipe.hset(self._key(row.key), mapping=_fields(row))
            pipe.execute()
        self._index_when_large()

    def drop_rows(self, generation: str) -> None:
        """Remove the chunks of a generation."""
        keys = self._keys(generation)
        for first in range(0, len(keys), _PAGE):
            self._client.delete(*keys[first : first + _PAGE])
        self._client.delete(self._key_of(f"g:{generation}"))

    def rows(self, generation: str) -> list[tuple[Chunk, NDArray[np.float32]]]:
        """The chunks of a generation with their vectors, in order of their ranges."""
        found = [
            (chunk, np.frombuffer(vector, dtype="<f4").astype(np.float32))
            for chunk, vector in self._read(self._keys(generation), "vector")
            if chunk is not None
        ]
        return sorted(found, key=lambda row: (row[0].start, row[0].end))

    def chunks(self, keys: Sequence[str]) -> list[Chunk | None]:
        """The chunks of those keys."""
        return [chunk for chunk, _ in self._read([self._key(key) for key in keys], "page")]

    # -- searching -------------------------------------------------------------------------------

    def nearest(
        self, vector: NDArray[np.float32], k: int, generations: Sequence[str] | None
    ) -> list[tuple[str, float]]:
        """Keys of the k nearest chunks by inner product."""
        kind = "EF_RUNTIME $ef " if self._is_large() else ""
        some = "*" if generations is None else f"({_among(generations)})"
        query = Query(f"{some}=>[KNN $k @vector $vector {kind}AS distance]").return_fields("distance")
        given: dict[str, Any] = {"k": k, "vector": np.asarray(vector, "<f4").tobytes()}
        if kind:
            given["ef"] = max(_LEAST_EF, 2 * k)
        found = self._search(query.sort_by("distance"), k, given)
        return [(key, 1 - float(row["distance"])) for key, row, _ in found]

    def best(
        self, words: Sequence[str], k: int, generations: Sequence[str] | None
    ) -> list[tuple[str, float]]:
        """Keys of the k best chunks by BM25."""
        counts = Counter(map(_word, words))
        wanted = " | ".join(
            f"({word}) => {{ $weight: {n}; }}" if n > 1 else word for word, n in counts.items()
        )
        some = "" if generations is None else f" {_among(generations)}"
        query = Query(f"@words:({wanted}){some}").scorer("BM25STD").with_scores().no_content()
        return [(key, score) for key, _, score in self._search(query, k, {})]

    def _search(self, query: Query, k: int, given: dict[str, Any]) -> list[tuple[str, dict[str, str], float]]:
        """Keys, fields and scores of what a query finds, from the index that is in use."""
        query = query.paging(0, k).dialect(2).timeout(0)
        reply: Any = self._client.ft(f"{self._name}:index").search(query, given or None)
        prefix = len(self._key(""))
        return [
            (row["id"][prefix:], row.get("extra_attributes", {}), float(row.get("score", 0)))
            for row in reply["results"]
        ]

    # -- records ---------------------------------------------------------------------------------

    def put_record(self, record: Record) -> Record | None:
        """Put a document's record in place of its former one, which comes back."""
        name = record.info.id.encode()
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hget(self._key_of("d"), name)
            pipe.hset(self._key_of("d"), name, json.dumps(info_json(record)))
            pipe.zadd(self._key_of("ids"), {b"=" + name: 0})
            former = pipe.execute()[0]
        return None if former is None else record_of(json.loads(former))

    def drop_record(self, document_id: str) -> Record | None:
        """Remove a document's record, which comes back."""
        name = document_id.encode()
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hget(self._key_of("d"), name)
            pipe.hdel(self._key_of("d"), name)
            pipe.zrem(self._key_of("ids"), b"=" + name)
            former = pipe.execute()[0]
        return None if former is None else record_of(json.loads(former))

    def records(self, document_ids: Sequence[str]) -> list[Record | None]:
        """The records of those documents."""
        found: list[Record | None] = []
        for first in range(0, len(document_ids), _PAGE):
            names = [name.encode() for name in document_ids[first : first + _PAGE]]
            held: Any = self._client.hmget(self._key_of("d"), names)
            found += [None if each is None else record_of(json.loads(each)) for each in held]
        return found

    def all_records(self) -> Iterator[Record]:
        """Every record, in order of document id: UTF-8's bytes have the order of code points."""
        last = b"-"
        while True:
            some: Any = self._client.zrangebylex(self._key_of("ids"), last, "+", 0, _PAGE)
            held = self.records([name[1:].decode() for name in some])
            yield from (record for record in held if record is not None)
            if len(some) < _PAGE:
                return
            last = b"(" + some[-1]

    # -- writes under way ------------------------------------------------------------------------

    def put_mark(self, mark: Mark) -> None:
        """Note a write that begins."""
        self._client.hset(self._key_of("w"), mark.generation, json.dumps(asdict(mark)))

    def drop_mark(self, generation: str) -> None:
        """Forget a write that is done."""
        self._client.hdel(self._key_of("w"), generation)

    def marks(self) -> list[Mark]:
        """The writes that are noted."""
        held: Any = self._client.hvals(self._key_of("w"))
        return [Mark(**json.loads(each)) for each in held]

    # -- the knowledge base ------------------------------------------------------------------------

    def make(self, meta: StoreMeta) -> None:
        """Make the knowledge base, unless another process has just done so."""
        self.make_index()
        with self._client.pipeline(transaction=True) as pipe:
            for name, value in values_of(meta).items():
                pipe.hsetnx(self._key_of("meta"), name, value)
            pipe.execute()

    def make_index(self, kind: str = "FLAT") -> None:
        """Make the index over all chunks, and wait until it holds those that are there."""
        name = f"{self._name}:index:{kind.lower()}"
        settings: dict[str, Any] = {"TYPE": "FLOAT32", "DIM": self._width, "DISTANCE_METRIC": "IP"}
        if kind == "HNSW":
            settings |= {"M": 16, "EF_CONSTRUCTION": 200}
        fields = (
            TagField("generation", case_sensitive=True),
            TextField("words", no_stem=True),
            VectorField("vector", kind, settings),
        )
        definition = IndexDefinition(prefix=[self._key("")], index_type=IndexType.HASH)
        try:
            self._client.ft(name).create_index(fields, definition=definition, stopwords=[])
        except redis.ResponseError as error:
            if "already exists" not in str(error):
                raise
        while not _is_done(self._client.ft(name).info()):
            time.sleep(_WAIT_S)
        self._client.ft(name).aliasupdate(f"{self._name}:index")

    def _index_when_large(self) -> None:
        if self._is_large():
            return
        info: Any = self._client.ft(f"{self._name}:index").info()
        if int(_info(info)["num_docs"]) >= INDEX_FROM:
            self.make_index("HNSW")
            self._client.ft(f"{self._name}:index:flat").dropindex()

    def _is_large(self) -> bool:
        info: Any = _info(self._client.ft(f"{self._name}:index").info())
        return _str(info["index_name"]).endswith(":hnsw")

    def check_meta(self, meta: StoreMeta) -> None:
        """Raise StoreError where the knowledge base is not that any more."""
        held: Any = self._client.hgetall(self._key_of("meta"))
        if {_str(name): _str(value) for name, value in held.items()} != values_of(meta):
            raise StoreError(f"{self._shown} has been made anew since it was opened; open it again")

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _key(self, key: str) -> str:
        return f"{self._name}:c:{key}"

    def _key_of(self, what: str) -> str:
        return f"{self._name}:{what}"

    def _keys(self, generation: str) -> list[str]:
        """The keys of a generation's chunks, of which `NAME:g:GENERATION` keeps a list."""
        held: Any = self._client.smembers(self._key_of(f"g:{generation}"))
        return [self._key(_str(key)) for key in held]

    def _read(self, keys: Sequence[str], more: str) -> list[tuple[Chunk | None, Any]]:
        """Chunks with one further field."""
        found: list[tuple[Chunk | None, Any]] = []
        for first in range(0, len(keys), _PAGE):
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys[first : first + _PAGE]:
                    pipe.hmget(key, [*_TEXT, more])
                found += [(_chunk(*row[: len(_TEXT)]), row[-1]) for row in pipe.execute()]
        return found


def _fields(row: Row) -> dict[str, str | int | bytes]:
    chunk = row.chunk
    return {
        "generation": row.generation,
        "document_id": chunk.document_id,
        "version": chunk.version,
        "first": chunk.start,
        "last": chunk.end,
        "text": chunk.text,
        "page": "" if chunk.page is None else chunk.page,
        "heading": chunk.heading,
        "places": json.dumps([place[:2] for place in chunk.places], ensure_ascii=False),
        "words": " ".join(map(_word, row.words)),
        "vector": np.asarray(row.vector, "<f4").tobytes(),
    }


def _chunk(document_id: bytes | None, *rest: bytes) -> Chunk | None:
    if document_id is None:
        return None
    version, first, last, text, page, heading, places = (value.decode() for value in rest)
    return Chunk(
        document_id.decode(), version, int(first), int(last), text, int(page) if page else None, heading,
        tuple(Place(at, label) for at, label in json.loads(places)),
    )  # fmt: skip


def _word(term: str) -> str:
    """A term in characters that Redis takes for parts of one word; terms hold letters, digits and dots."""
    return term.replace(".", "_")


def _among(generations: Sequence[str]) -> str:
    return f"@generation:{{{'|'.join(generations)}}}"


def _str(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _info(reply: Any) -> dict[str, Any]:
    return {_str(name): value for name, value in reply.items()}


def _is_done(reply: Any) -> bool:
    """Whether an index holds all that is there."""
    return float(_info(reply)["percent_indexed"]) >= 1
