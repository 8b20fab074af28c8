"""Addresses of knowledge bases: a path, or `scheme://…` of a store.

`str(parse_store(text))` reads back the same. Nothing here looks at a disk or a network. The schemes are
those of STORES and of installed packages: an entry point of the group `weightwright.stores`, named as the
scheme, whose value is the `module:function` that opens such a store (`rag.stores.opening.OpenStore`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from weightwright.address.grammar import SCHEME, checked, expanded, require_host
from weightwright.config import nearest
from weightwright.errors import AddressError

ENTRY_POINTS = "weightwright.stores"


@dataclass(frozen=True, slots=True)
class StoreKind:
    """Who opens addresses of a scheme (`module:function`), and whether they name a file, a server or either."""

    opener: str  # "": not in this version
    has_files: bool = True
    has_servers: bool = True
    driver: str = ""  # the module that the extra of the scheme's name installs


STORES: Mapping[str, StoreKind] = MappingProxyType(
    {
        "sqlite": StoreKind("weightwright.rag.stores.sqlite.store:open_sqlite", has_servers=False),
        "milvus": StoreKind(""),
        "redis": StoreKind("weightwright.rag.stores.redis.store:open_redis", has_files=False, driver="redis"),
        "elasticsearch": StoreKind("", has_files=False),
        "mongodb": StoreKind("", has_files=False),
        "postgresql": StoreKind(
            "weightwright.rag.stores.postgres.store:open_postgres", has_files=False, driver="psycopg"
        ),
    }
)

# other spellings that drivers use, kept in the URL
_SCHEME_ALIASES = {
    "rediss": "redis",
    "postgres": "postgresql",
    "mongodb+srv": "mongodb",
    "elasticsearch+https": "elasticsearch",
}
_USER = re.compile(r"(?<=://)([^:@/?#]*):(.*)@")  # to the last @, should a password hold one
_SECRET = re.compile(r"(?i)([?&](?:password|passwd|pwd|token|secret|api_?key)=)([^&#]+)")


@dataclass(frozen=True, slots=True, repr=False)
class StoreAddress:
    """Where a knowledge base is: a local `path` or a server's `url`."""

    scheme: str
    path: Path | None = None
    url: str = ""

    def __str__(self) -> str:
        return self.url if self.path is None else f"{self.scheme}:///{self.path.as_posix()}"

    def __repr__(self) -> str:
        return f"StoreAddress({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address without its password, for messages and reports."""
        return without_password(str(self))

    @property
    def passwords(self) -> tuple[str, ...]:
        """What must not stand in a message."""
        return tuple(match[2] for pattern in (_USER, _SECRET) for match in pattern.finditer(self.url))


def without_password(text: str) -> str:
    """An address, good or wrong, as a message may show it."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1:***@", text))


def store_kinds() -> dict[str, StoreKind]:
    """Every scheme that can be opened here: those of STORES and of installed packages."""
    installed = {point.name: StoreKind(point.value) for point in entry_points(group=ENTRY_POINTS)}
    return {**STORES, **{name: kind for name, kind in installed.items() if not _opens(name)}}


def _opens(name: str) -> bool:
    return name in STORES and bool(STORES[name].opener)


def parse_store(text: str) -> StoreAddress:
    """Read a store address; a plain path is SQLite. Raises AddressError saying what is expected."""
    text = checked(text, "store")
    shown = without_password(text)
    match = SCHEME.match(text)
    if match is None:
        word, colon, _ = text.partition(":")
        if colon and (word in STORES or word in _SCHEME_ALIASES):
            raise AddressError(
                f"store {text!r} lacks its slashes; write {word}:///FILE or {word}://HOST:PORT"
            )
        return StoreAddress("sqlite", expanded(text))
    word, rest = match[1].lower(), text[match.end() :]
    scheme = _SCHEME_ALIASES.get(word, word)
    kinds = STORES if _opens(scheme) else store_kinds()
    if scheme not in kinds:
        raise AddressError(f"store {shown!r}: unknown scheme {word!r}{nearest(word, kinds)}; a plain "
                           f"path is SQLite; known schemes: {', '.join(kinds)}")  # fmt: skip
    kind = kinds[scheme]
    if not kind.has_servers or (kind.has_files and rest.startswith("/")):
        return StoreAddress(scheme, _embedded_path(text, scheme, rest))
    require_host(text, "store", f"{word}://HOST:PORT", shown)
    return StoreAddress(scheme, None, word + text[len(word) :])


def _embedded_path(text: str, scheme: str, rest: str) -> Path:
    if not rest.startswith("/"):
        raise AddressError(f"store {text!r}: {scheme} keeps a local file; write "
                           f"{scheme}:///{rest or 'kb.db'}, "
                           f"or {scheme}:////... for an absolute path")  # fmt: skip
    if rest == "/":
        raise AddressError(f"store {text!r} names no file; write {scheme}:///kb.db")
    return expanded(rest[1:])
