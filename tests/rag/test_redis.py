"""The Redis store against a real server with the query engine."""

from collections.abc import Iterator
from itertools import count

import pytest

from weightwright.testing.store import StoreContract

from .servers import redis_server, redisearch

NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server."""
    with redis_server(redisearch()) as address:
        yield address


class TestRedis(StoreContract):
    """The contract of every store."""

    @pytest.fixture
    def address(self, server: str) -> str:
        return f"{server}/kb{next(NUMBERS)}"
