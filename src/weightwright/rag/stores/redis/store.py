"""How a knowledge base in Redis is opened."""

import redis

from weightwright.address.stores import StoreAddress
from weightwright.rag.stores.base import StoreAbsentError, StoreMeta
from weightwright.rag.stores.generations import GenerationStore
from weightwright.rag.stores.redis import keyspace
from weightwright.rag.stores.redis.server import RedisServer


def open_redis(address: StoreAddress, new: StoreMeta | None) -> GenerationStore:
    """Open the knowledge base at `address`, or make it for `new`; see `rag.stores.opening.OpenStore`."""
    url, name = keyspace.split_address(address)
    client = keyspace.connected(url, address.shown)
    try:
        meta = keyspace.read_meta(client, name)
        if meta is None and new is None:
            raise StoreAbsentError(
                f"there is no knowledge base at {address.shown}; make one: weightwright kb add {address.shown} PATH"
            )
        if meta is None and new is not None:
            RedisServer(client, name, new.width, address.shown).make(new)
            meta = keyspace.read_meta(client, name)
        assert meta is not None
        server = RedisServer(client, name, meta.width, address.shown)
        return GenerationStore(server, meta, address.shown, tidy=new is not None)
    except redis.RedisError as error:
        client.close()
        raise keyspace.explain(error, address.shown) from error
    except BaseException:
        client.close()
        raise
