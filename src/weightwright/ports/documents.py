"""Documents and what is found in them: chunks, hits, citations; the Embedder protocol."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
MetadataValue = str | int | float | bool


class ChunkId(NamedTuple):
    """What identifies a chunk: its document, that document's version, and a range of characters."""

    document_id: str
    version: str
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """A text with the place it came from. `page_starts[i]` is where page i+1 begins; () without pages."""

    id: str
    text: str
    path: str = ""
    title: str = ""
    page_starts: tuple[int, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)

    @cached_property
    def version(self) -> str:
        """A hash of the content: equal content, equal version."""
        parts = (self.text, self.title, repr(self.page_starts), repr(sorted(self.metadata.items())))
        return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def page_at(self, offset: int) -> int | None:
        """The page (from 1) that holds the character at `offset`."""
        return bisect_right(self.page_starts, offset) or None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of a document, `text == document.text[start:end]`."""

    document_id: str
    version: str
    start: int
    end: int
    text: str
    page: int | None = None
    heading: str = ""

    @property
    def id(self) -> ChunkId:
        """The chunk's identity."""
        return ChunkId(self.document_id, self.version, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, with its score (higher is better) and its document's path and title."""

    chunk: Chunk
    score: float
    path: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Citation:
    """A mark [n] in an answer and the range of a document that supports its sentence."""

    n: int
    document: str
    path: str
    page: int | None
    start: int
    end: int
    quote: str


class Embedder(Protocol):
    """Turns texts into vectors of length one."""

    name: str
    width: int
    max_tokens: int

    def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> Vectors:
        """Vectors [texts, width], f32, each of length 1."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, so that no chunk exceeds `max_tokens` and is cut without a word."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...
