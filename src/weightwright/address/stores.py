"""Addresses of knowledge bases: a path, or `scheme://…` of a store.

`str(parse_store(text))` reads back the same. Nothing here looks at a disk or a network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from weightwright.address.grammar import SCHEME, checked, expanded, require_host
from weightwright.config import nearest
from weightwright.errors import AddressError

Scheme = Literal["sqlite", "milvus", "redis", "elasticsearch", "mongodb", "postgresql"]
STORE_SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

# other spellings that drivers use, kept in the URL
_SCHEME_ALIASES: dict[str, Scheme] = {
    "rediss": "redis",
    "postgres": "postgresql",
    "mongodb+srv": "mongodb",
    "elasticsearch+https": "elasticsearch",
}


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where a knowledge base is: a local `path` (sqlite, embedded milvus) or a server's `url`."""

    scheme: Scheme
    path: Path | None = None
    url: str = ""

    def __str__(self) -> str:
        return self.url if self.path is None else f"{self.scheme}:///{self.path.as_posix()}"

    @property
    def shown(self) -> str:
        """The address without its password, for messages and reports."""
        parts = urlsplit(str(self))
        if parts.password is None:
            return str(self)
        return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def parse_store(text: str) -> StoreAddress:
    """Read a store address; a plain path is SQLite. Raises AddressError saying what is expected."""
    text = checked(text, "store")
    found = SCHEME.match(text)
    if found is None:
        word, colon, _ = text.partition(":")
        if colon and (word in STORE_SCHEMES or word in _SCHEME_ALIASES):
            raise AddressError(
                f"store {text!r} lacks its slashes; write {word}:///FILE or {word}://HOST:PORT"
            )
        return StoreAddress("sqlite", expanded(text))
    word = found[1].lower()
    scheme = _SCHEME_ALIASES.get(word) or next((s for s in STORE_SCHEMES if s == word), None)
    if scheme is None:
        raise AddressError(f"store {text!r}: unknown scheme {word!r}{nearest(word, STORE_SCHEMES)}; a plain "
                           f"path is SQLite; known schemes: {', '.join(STORE_SCHEMES)}")  # fmt: skip
    rest = text[found.end() :]
    if scheme == "sqlite" or (scheme == "milvus" and rest.startswith("/")):
        return StoreAddress(scheme, _embedded_path(text, scheme, rest))
    require_host(text, "store", f"{word}://HOST:PORT")
    return StoreAddress(scheme, None, word + text[len(word) :])


def _embedded_path(text: str, scheme: Scheme, rest: str) -> Path:
    if not rest.startswith("/"):
        raise AddressError(f"store {text!r}: {scheme} keeps a local file; write "
                           f"{scheme}:///{rest or 'kb.db'}, "
                           f"or {scheme}:////... for an absolute path")  # fmt: skip
    if rest == "/":
        raise AddressError(f"store {text!r} names no file; write {scheme}:///kb.db")
    return expanded(rest[1:])
