"""Knowledge bases behind one contract: a name table, and each store imported only when it is opened."""

from importlib import import_module
from typing import TYPE_CHECKING

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError

if TYPE_CHECKING:
    from weightwright.ports import Embedder
    from weightwright.rag.settings import ChunkSettings
    from weightwright.rag.stores.base import Store

# scheme of an address → the module whose `open_store` opens it
STORES: dict[str, str] = {"sqlite": "weightwright.rag.stores.sqlite.store"}


def open_store(
    address: StoreAddress,
    *,
    embedder: "Embedder | None" = None,
    chunks: "ChunkSettings | None" = None,
    create: bool = False,
    embedder_address: str = "",
) -> "Store":
    """Open the knowledge base at `address`; `create` makes one for `embedder` where there is none.

    `embedder` and `chunks`, where given, must be those it was made with. Raises StoreError otherwise, or
    where there is no knowledge base, or something else is in its place.
    """
    if address.scheme not in STORES:
        raise StoreError(
            f"{address.shown}: {address.scheme} stores (extra {address.scheme!r}) are not in this version; "
            f"use a file, for example kb.db; known: {', '.join(sorted(STORES))}"
        )
    opened: Store = import_module(STORES[address.scheme]).open_store(
        address, embedder=embedder, chunks=chunks, create=create, embedder_address=embedder_address
    )
    return opened
