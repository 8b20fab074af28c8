"""Hits to passages: what the model is shown, without repetition and within a budget of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from weightwright.ports import Chunk, Hit, Place
from weightwright.rag.chunk import CountTokens
from weightwright.rag.sentences import MARK
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import Compare


@dataclass(frozen=True, slots=True)
class Passage:
    """A range of a document; number n of an answer's passages is what the mark [n] means."""

    document: str
    version: str
    start: int
    end: int
    text: str
    heading: str = ""
    path: str = ""
    score: float = 0.0
    page_starts: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()

    @property
    def shown(self) -> str:
        """What the model reads: the heading, a cut table's header row, and the text, without marks of its own."""
        text = MARK.sub("", self.text)
        heading, _, row = self.heading.partition("\n")
        if row or heading.startswith("|"):
            return f"{self.heading}\n{text}"
        return f"{heading}: {text}" if heading else text


def passages_of(hits: Sequence[Hit], context_tokens: int, count_tokens: CountTokens) -> list[Passage]:
    """Passages in the order of their best hit; overlapping chunks of a document become one.

    Hits are taken best first while all passages fit into the budget; the first is always taken.
    """
    taken: list[Passage] = []
    for hit in hits:
        trial = _with(taken, _passage(hit))
        if taken and sum(count_tokens([passage.shown for passage in trial])) > context_tokens:
            break
        taken = trial
    return taken


def with_pages(passages: Sequence[Passage], store: Store) -> list[Passage]:
    """The same passages with their documents' page starts."""
    named = {passage.document for passage in passages}
    if not named:
        return []
    where = Compare("document", "in", tuple(sorted(named))) if store.capabilities.filters else None
    starts = {info.id: info.page_starts for info in store.documents(where) if info.id in named}
    return [replace(passage, page_starts=starts.get(passage.document, ())) for passage in passages]


def _with(taken: list[Passage], new: Passage) -> list[Passage]:
    """`taken` and a new passage; ones that it overlaps are joined, in the best's place."""
    overlapping = [old for old in taken if _overlap(old, new)]
    if not overlapping:
        return taken if any(old.text == new.text for old in taken) else [*taken, new]
    joined = new
    for old in overlapping:
        joined = _joined(old, joined)
    return [joined if old is overlapping[0] else old for old in taken if old not in overlapping[1:]]


def _overlap(a: Passage, b: Passage) -> bool:
    return (a.document, a.version) == (b.document, b.version) and a.start < b.end and b.start < a.end


def _joined(a: Passage, b: Passage) -> Passage:
    first, second = sorted((a, b), key=lambda passage: (passage.start, -passage.end))
    if second.end <= first.end:
        return replace(first, score=max(a.score, b.score))
    text = first.text + second.text[first.end - second.start :]
    places = first.places + tuple(place for place in second.places if place.start >= first.end)
    return replace(first, end=second.end, text=text, score=max(a.score, b.score), places=places)


def _passage(hit: Hit) -> Passage:
    chunk: Chunk = hit.chunk
    return Passage(
        document=chunk.document_id,
        version=chunk.version,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        heading=chunk.heading,
        path=hit.path,
        score=hit.score,
        places=chunk.places,
    )
