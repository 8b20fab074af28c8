"""How every store is opened: found by its scheme, made where asked, checked for its embedder and settings."""

from contextlib import closing
from importlib import import_module
from typing import Protocol

from weightwright.address.stores import StoreAddress, parse_store, store_kinds
from weightwright.errors import StoreError
from weightwright.extras import require
from weightwright.ports import Embedder
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.base import (
    SCHEMA_VERSION,
    Store,
    StoreAbsentError,
    StoreMeta,
    check_chunk_settings,
    check_embedder,
)
from weightwright.rag.stores.sqlite import file


class OpenStore(Protocol):
    """What opens a store of one scheme; an entry point of the group `weightwright.stores` names such a function."""

    def __call__(self, address: StoreAddress, new: StoreMeta | None) -> Store:
        """The knowledge base at `address`; where there is none, one for `new` is made.

        Without `new` nothing is made: raises StoreAbsentError where one could be, StoreError where the
        place is taken by something else. What it is found to be made with is `Store.meta`; the caller
        checks it.
        """
        ...


def open_store(
    address: StoreAddress,
    *,
    embedder: Embedder | None = None,
    chunks: ChunkSettings | None = None,
    create: bool = False,
    embedder_address: str = "",
) -> Store:
    """Open the knowledge base at `address`; `create` makes one for `embedder` where there is none.

    `embedder` and `chunks`, where given, must be those it was made with. Raises StoreError otherwise, or
    where there is no knowledge base, or something else is in its place. No message holds a password.
    """
    new = None
    if create and embedder is not None:
        new = StoreMeta(embedder.name, embedder.width, chunks or ChunkSettings(), embedder_address)
    try:
        store = _opened(address, new)
    except StoreAbsentError as error:
        if not create:
            raise
        raise StoreError(
            f"{address.shown} would be new and needs an embedder; name one, for example minilm"
        ) from error
    try:
        if store.meta.schema_version > SCHEMA_VERSION:
            raise StoreError(
                f"{address.shown} was written by a newer version (format {store.meta.schema_version}, this "
                f"one reads up to {SCHEMA_VERSION}); run: pip install --upgrade weightwright"
            )
        if embedder is not None:
            check_embedder(store.meta, embedder, address.shown)
        if chunks is not None:
            check_chunk_settings(store.meta, chunks, address.shown)
    except StoreError:
        store.close()
        raise
    return store


def open_like(address: StoreAddress, meta: StoreMeta) -> Store:
    """The knowledge base at `address`, made as `meta` says where there is none; StoreError where it differs."""
    store = _opened(address, meta)
    if (store.meta.embedder, store.meta.width, store.meta.chunks) != (meta.embedder, meta.width, meta.chunks):
        found = store.meta
        store.close()
        raise StoreError(
            f"{address.shown} was made with embedder {found.embedder}, {found.chunks.chunk_tokens} tokens a chunk; "
            f"what is copied, with {meta.embedder}, {meta.chunks.chunk_tokens}: copy it to a new address"
        )
    return store


def _opened(address: StoreAddress, new: StoreMeta | None) -> Store:
    opener = _opener(address)
    try:
        return opener(address, new)
    except Exception as error:
        if not any(password in str(error) for password in address.passwords):
            raise
        text = str(error)
        for password in address.passwords:
            text = text.replace(password, "***")
        kind = type(error) if isinstance(error, StoreError) else StoreError
        raise kind(text) from None


def _opener(address: StoreAddress) -> OpenStore:
    kinds = store_kinds()
    kind = kinds[address.scheme]
    module, _, name = kind.opener.partition(":")
    if not module:
        known = sorted(scheme for scheme, kind in kinds.items() if kind.opener)
        raise StoreError(
            f"{address.shown}: {address.scheme} stores (extra {address.scheme!r}) are not in this version; "
            f"use a file, for example kb.db; known: {', '.join(known)}"
        )
    if kind.driver:
        require(kind.driver, extra=address.scheme)
    try:
        opener: OpenStore = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise StoreError(
            f"{address.shown}: what opens {address.scheme} stores, {module}:{name}, cannot be imported "
            f"({error}); install its package again"
        ) from error
    return opener


class Beside:
    """Where a knowledge base in a file is made anew, until it takes the old one's place."""

    def __init__(self, address: StoreAddress) -> None:
        """Raises StoreError for stores that cannot be changed in their place."""
        if address.path is None:
            raise StoreError(
                f"{address.shown} cannot be made anew in its place; give another address for it: --to ADDRESS"
            )
        self._path = address.path
        self._file = address.path.with_name(f"{address.path.stem}.reindex{address.path.suffix}")

    def prepared(self, embedder: str, chunks: ChunkSettings) -> StoreAddress:
        """The new one's address; what an earlier run left is kept where it was made with the same."""
        place = parse_store(str(self._file))
        try:
            with closing(open_store(place)) as begun:
                same = (begun.meta.embedder, begun.meta.chunks) == (embedder, chunks)
        except StoreError:
            same = False
        if not same:
            file.discard(self._file)
        return place

    def adopted(self) -> bool:
        """Put the new one in the old one's place; False where that has other documents by now."""
        return file.adopt(self._path, self._file)
