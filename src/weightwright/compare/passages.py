"""The passages of a comparison: a knowledge base brought up to date, searched or opened where it matters."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property

from weightwright import connect
from weightwright.asking.answers import digest
from weightwright.compare.questions import Question
from weightwright.compare.settings import CompareSettings
from weightwright.config import nearest
from weightwright.errors import DataError
from weightwright.ports import Chunk, Embedder, Hit, Progress
from weightwright.rag.answer import KnowledgeBase
from weightwright.rag.context import Passage, passages_of, with_pages
from weightwright.rag.index import add
from weightwright.rag.languages import sampled
from weightwright.rag.load import Skipped
from weightwright.rag.settings import LoadSettings
from weightwright.rag.stores.base import Store, check_embedder
from weightwright.rag.stores.filters import Compare


@dataclass
class PassageSource:
    """A knowledge base and how passages are chosen from it; `skipped` lists files that could not be read."""

    knowledge: KnowledgeBase
    embedder: Embedder
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def store(self) -> Store:
        """The store behind it."""
        return self.knowledge.store

    @cached_property
    def version(self) -> str:
        """A hash of what the knowledge base holds: documents, how they were cut, the embedder."""
        meta = self.store.meta
        held = sorted((info.id, info.version) for info in self.store.documents())
        return digest([meta.embedder, meta.chunks.model_dump(), held])

    def search(self, question: str) -> list[Passage]:
        """The passages that retrieval finds, as `ask` shows them to a model."""
        return self.knowledge.passages(question)

    def gold(self, question: Question) -> list[Passage]:
        """The documents that the question names, whole where they fit, else their best chunks.

        A question that names none gets what retrieval finds: its right answer is that nothing is said.
        """
        if not question.documents:
            return self.search(question.question)
        ids = [self._id_of(name) for name in question.documents]
        limit, count = self.knowledge.settings.context_tokens, self.embedder.count_tokens
        whole = [self._texts[i] for i in ids]
        if sum(count([hit.chunk.text for hit in whole])) <= limit:
            return with_pages(passages_of(whole, limit, count), self.store)
        return self.knowledge.passages(question.question, Compare("document", "in", tuple(ids)))

    def check_named(self, questions: tuple[Question, ...]) -> None:
        """Raise DataError when a question names a document that the knowledge base does not hold."""
        for question in questions:
            for name in question.documents:
                self._id_of(name)

    def _id_of(self, name: str) -> str:
        if name in self._texts:
            return name
        inside = [i for i in self._texts if i.endswith("/" + name)]
        if len(inside) != 1:
            problem = "does not hold" if not inside else f"holds {len(inside)} times"
            raise DataError(
                None,
                f"a question names document {name!r}, which the knowledge base {problem}"
                f"{nearest(name, self._texts)}",
            )
        return inside[0]

    @cached_property
    def _texts(self) -> dict[str, Hit]:
        """Each document's whole text as one passage, put together from its chunks."""
        chunks: dict[str, list[Chunk]] = {}
        for chunk, _ in self.store.scan():
            chunks.setdefault(chunk.document_id, []).append(chunk)
        info = {i.id: i for i in self.store.documents()}
        return {i: _whole(parts, info[i].path, info[i].title) for i, parts in chunks.items()}


def open_passages(settings: CompareSettings, things: ExitStack, progress: Progress) -> PassageSource:
    """The knowledge base of the settings, closed with `things`.

    One made from `documents` lies in the out folder, is kept, and follows the files as they change.
    Raises DataError where a path does not exist or nothing could be read.
    """
    for path in settings.documents:
        if not path.exists():
            raise DataError(path, "does not exist; give files or folders")
    if settings.kb:
        store = connect.open_store(settings.kb)
        things.callback(store.close)
        address = connect.embedder_for(settings.embedder, store.meta.embedder_address)
        embedder = connect.open_embedder(address)
        things.callback(embedder.close)
        check_embedder(store.meta, embedder, settings.kb)
        return PassageSource(KnowledgeBase(store, embedder, settings.answer), embedder)
    address = _embedder_for(settings)
    embedder = connect.open_embedder(address)
    things.callback(embedder.close)
    made_with = digest([embedder.name, embedder.width, settings.chunks.model_dump()])[:8]
    file = settings.out / f"kb-{made_with}.db"
    store = connect.open_store(
        str(file), embedder=embedder, chunks=settings.chunks, create=True, embedder_address=address
    )
    things.callback(store.close)
    report = add(store, embedder, settings.documents, progress=progress)
    if not report.seen:
        raise DataError(
            None, f"none of {', '.join(map(str, settings.documents))} could be read as a document"
        )
    for gone in [info.id for info in store.documents() if info.id not in report.seen]:
        store.delete(gone)
    return PassageSource(KnowledgeBase(store, embedder, settings.answer), embedder, report.skipped)


def _embedder_for(settings: CompareSettings) -> str:
    """The embedder for `documents`, chosen once: a comparison goes on with the one that it began with."""
    if settings.embedder:
        return settings.embedder
    made = sorted(settings.out.glob("kb-*.db"), key=lambda file: file.stat().st_mtime)
    if not made:
        return connect.fitting_embedder(sampled(settings.documents, LoadSettings()))
    with closing(connect.open_store(str(made[-1]))) as store:
        return connect.embedder_for("", store.meta.embedder_address)


def _whole(parts: list[Chunk], path: str, title: str) -> Hit:
    """One passage over all of a document's chunks; what lies between two chunks is white space."""
    text = ""
    first = min(part.start for part in parts)
    for part in sorted(parts, key=lambda part: part.start):
        text = text.ljust(part.start - first)
        text += part.text[first + len(text) - part.start :]
    places = tuple(sorted({place for part in parts for place in part.places}))
    chunk = replace(parts[0], start=first, end=first + len(text), text=text, heading="", places=places)
    return Hit(chunk, 1.0, path, title)
