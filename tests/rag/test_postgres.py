"""The PostgreSQL store against a real server with pgvector."""

from collections.abc import Iterator
from itertools import count

import pytest

from weightwright.testing.store import StoreContract

from .servers import postgres

NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a database."""
    with postgres() as address:
        yield address


class TestPostgres(StoreContract):
    """The contract of every store."""

    @pytest.fixture
    def address(self, server: str) -> str:
        return f"{server}/kb{next(NUMBERS)}"
