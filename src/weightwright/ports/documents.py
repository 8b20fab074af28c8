"""Documents and what is found in them: chunks, hits, citations; the Embedder protocol."""

import hashlib
import re
from bisect import bisect_left, bisect_right
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


class Place(NamedTuple):
    """Where in its file the text from `start` on stands, until the next place: `sheet "Costs", row 4`.

    With `lines` the label is followed by the line, counted from that number on: `line 12`, `cell 3, line 2`.
    """

    start: int
    label: str
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """What `text[start:end]` of a document is, where it is no running text.

    `words`: a heading's words without its marks; the header row of a table, as it stands in the text.
    """

    kind: Literal["heading", "table", "code"]
    start: int
    end: int
    level: int = 0  # of a heading, from 1
    words: str = ""


@dataclass(frozen=True)
class Document:
    """A text with the place it came from.

    `page_starts[i]` is where page i+1 begins; () without pages. `places` and `blocks` are in order of their
    starts; `blocks` is None where nobody has looked. `modified`: when the file was last written, in UTC
    (`2026-11-30T09:00:00Z`); "" where that is not known.
    """

    id: str
    text: str
    path: str = ""
    title: str = ""
    page_starts: tuple[int, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    blocks: tuple[Block, ...] | None = None
    modified: str = ""

    @cached_property
    def version(self) -> str:
        """A hash of the content: equal content, equal version, whenever it was written.

        Blocks, and lines that are counted from the first, follow from the text.
        """
        parts = [self.text, self.title, repr(self.page_starts), repr(sorted(self.metadata.items()))]
        if self.places and self.places != (Place(0, "", 1),):
            parts.append(repr([tuple(place) for place in self.places]))
        return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def page_at(self, offset: int) -> int | None:
        """The page (from 1) that holds the character at `offset`."""
        return bisect_right(self.page_starts, offset) or None

    def places_in(self, start: int, end: int) -> tuple[Place, ...]:
        """The places of `text[start:end]`, each line one of its own where lines are counted."""
        first = max(0, bisect_right(self.places, start, key=lambda place: place.start) - 1)
        found: list[Place] = []
        for number in range(first, len(self.places)):
            place = self.places[number]
            if place.start >= end and found:
                break
            stop = self.places[number + 1].start if number + 1 < len(self.places) else len(self.text)
            found += self._lines(place, max(start, place.start), min(end, stop)) if place.lines else [place]
        return tuple(found)

    def _lines(self, place: Place, start: int, end: int) -> list[Place]:
        """`place`, one for each line that begins or goes on in `text[start:end]`."""
        ends = self._line_ends
        before, first, last = (bisect_left(ends, offset) for offset in (place.start, start, end))
        label = f"{place.label}, line" if place.label else "line"
        starts = [start, *(ends[number] + 1 for number in range(first, last) if ends[number] + 1 < end)]
        return [Place(at, f"{label} {n}") for n, at in enumerate(starts, place.lines + first - before)]

    @cached_property
    def _line_ends(self) -> list[int]:
        return [match.start() for match in re.finditer("\n", self.text)]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of a document, `text == document.text[start:end]`.

    `heading`: the titles above it (`Leave > Illness`), and below them, on a line of its own, the header row of a
    table that was cut. `places`: those of its range.
    """

    document_id: str
    version: str
    start: int
    end: int
    text: str
    page: int | None = None
    heading: str = ""
    places: tuple[Place, ...] = ()

    @property
    def id(self) -> ChunkId:
        """The chunk's identity."""
        return ChunkId(self.document_id, self.version, self.start, self.end)

    @property
    def place(self) -> str:
        """Where in its file it begins: `slide 3`; "" where the file has no places."""
        return place_at(self.places, self.start)


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
    place: str = ""


def place_at(places: Sequence[Place], offset: int) -> str:
    """The label of the place that holds the character at `offset`; "" before the first."""
    number = bisect_right(places, offset, key=lambda place: place.start)
    return places[number - 1].label if number else ""


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
