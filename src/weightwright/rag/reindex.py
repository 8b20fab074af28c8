"""A knowledge base made anew with another embedder or cut in another way, from its files or from what it holds.

The new one is filled beside the old one, document by document, and what is there already stays: a run that was
stopped goes on where it was. The old one answers until the new one is whole.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from weightwright.address.stores import StoreAddress
from weightwright.ports import Chunk, Document, Embedder, Place, Progress, silent
from weightwright.rag.ahead import READ_AHEAD, ahead
from weightwright.rag.chunk import chunk_document, indexed_text
from weightwright.rag.load import Skipped, Source, load
from weightwright.rag.settings import ChunkSettings, LoadSettings
from weightwright.rag.stores.base import DocumentInfo, Store
from weightwright.rag.stores.filters import Compare
from weightwright.rag.stores.opening import Beside, open_store
from weightwright.rag.vectors import held_vectors, vectors_of

_EMBED_TEXTS = 256  # chunks embedded at a time


@dataclass(frozen=True, slots=True)
class Reindexed:
    """A knowledge base made anew: its documents, and how many of them came from the old one's chunks alone."""

    documents: int
    rebuilt: int
    embedder: str

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        return {"documents": self.documents, "from_chunks": self.rebuilt, "embedder": self.embedder}


def reindex(
    address: StoreAddress,
    embedder: Embedder,
    *,
    embedder_address: str,
    chunks: ChunkSettings,
    to: StoreAddress | None = None,
    settings: LoadSettings | None = None,
    progress: Progress = silent,
) -> Reindexed:
    """Make the knowledge base at `address` anew for `embedder` and `chunks`, in its place or at `to`.

    Documents that others add meanwhile are taken along. Raises StoreError where there is none, where it cannot be
    changed in its place, or where something else is at `to`.
    """
    beside = Beside(address) if to is None else None
    rebuilt = 0
    with closing(open_store(address)) as old:
        place = beside.prepared(embedder.name, chunks) if beside is not None else to
        assert place is not None
        while True:
            with closing(
                open_store(
                    place, embedder=embedder, chunks=chunks, create=True, embedder_address=embedder_address
                )
            ) as new:
                rebuilt += refill(old, new, embedder, settings or LoadSettings(), progress)[1]
                count = sum(1 for _ in new.documents())
            if beside is None or beside.adopted():  # else somebody has changed documents meanwhile
                return Reindexed(count, rebuilt, embedder.name)


def refill(
    old: Store, new: Store, embedder: Embedder, settings: LoadSettings, progress: Progress = silent
) -> tuple[int, int]:
    """Bring `new` to the documents of `old`: how many were written, and how many of these from chunks alone.

    A document is read from its file where that still says what the old one holds, else put together from the old
    one's chunks: what stood between them is white space then.
    """
    wanted = {info.id: info for info in old.documents()}
    there = {info.id: info.version for info in new.documents()}
    for gone in there.keys() - wanted.keys():
        new.delete(gone)
    missing = [info for info in wanted.values() if there.get(info.id) != info.version]
    done, rebuilt = 0, 0
    waiting: list[tuple[Document, list[Chunk]]] = []
    for document, from_chunks in ahead(_documents(old, missing, settings), READ_AHEAD):
        rebuilt += from_chunks
        chunks = chunk_document(document, new.meta.chunks, embedder.count_tokens, embedder.max_tokens)
        waiting.append((document, chunks))
        if sum(len(cut) for _, cut in waiting) >= _EMBED_TEXTS:
            done += _write(old, new, embedder, waiting)
            progress(done, len(missing), document.id)
    done += _write(old, new, embedder, waiting)
    progress(done, len(missing), "")
    return done, rebuilt


def _write(old: Store, new: Store, embedder: Embedder, waiting: list[tuple[Document, list[Chunk]]]) -> int:
    """Write what waits, and empty it: how many documents."""
    same = old.meta.embedder == embedder.name
    held = held_vectors(old, {document.id for document, _ in waiting}) if same else {}
    vectors = vectors_of(embedder, [indexed_text(chunk) for _, cut in waiting for chunk in cut], held)
    first, count = 0, len(waiting)
    for document, cut in waiting:
        new.replace(document, cut, vectors[first : first + len(cut)])
        first += len(cut)
    waiting.clear()
    return count


def _documents(
    old: Store, missing: Sequence[DocumentInfo], settings: LoadSettings
) -> Iterator[tuple[Document, bool]]:
    """The missing documents, and of each whether it was put together from chunks."""
    lost: list[DocumentInfo] = []
    files = {info.id: _file_of(info.path) for info in missing}
    for file, infos in groupby(
        sorted(missing, key=lambda info: files[info.id]), key=lambda info: files[info.id]
    ):
        held: dict[tuple[str, str], list[DocumentInfo]] = {}
        for info in infos:
            held.setdefault((info.path, info.version), []).append(info)
        for read in load(Source(Path(file), Path(file).name), settings) if file else ():
            same = None if isinstance(read, Skipped) else held.get((read.path, read.version))
            if same and not isinstance(read, Skipped):
                yield replace(read, id=same.pop().id), False
        lost += [info for infos in held.values() for info in infos]
    if lost:
        texts, places = _held(old, {info.id for info in lost})
        for info in lost:
            yield _as(info, texts.get(info.id, ""), places.get(info.id, {})), True


def _file_of(path: str) -> str:
    """The file at a path, or the archive or mail that it lies in; "" where there is none."""
    around = (Path(path), *Path(path).parents) if path else ()
    return next((str(place) for place in around if place.is_file()), "")


def _held(old: Store, ids: set[str]) -> tuple[dict[str, str], dict[str, dict[int, Place]]]:
    """What chunks hold of documents: each character at its place, and the places of what stands there."""
    parts: dict[str, list[str]] = {}
    lengths: dict[str, int] = {}
    places: dict[str, dict[int, Place]] = {}
    for chunk, _ in old.scan(Compare("document", "in", tuple(ids))):
        name = chunk.document_id
        places.setdefault(name, {}).update((place.start, place) for place in chunk.places)
        if chunk.end > lengths.get(name, 0):
            have = lengths.get(name, 0)
            gap = "\n" * max(0, chunk.start - have)
            parts.setdefault(name, []).append(gap + chunk.text[max(0, have - chunk.start) :])
            lengths[name] = chunk.end
    return {name: "".join(pieces) for name, pieces in parts.items()}, places


def _as(info: DocumentInfo, text: str, places: dict[int, Place]) -> Document:
    """A document as a store knows it: one of whose text only the chunks are left keeps its version."""
    document = Document(
        info.id, text, info.path, info.title, info.page_starts, dict(info.metadata),
        tuple(place for _, place in sorted(places.items())), modified=info.modified,
    )  # fmt: skip
    vars(document)["version"] = info.version  # the cached hash, of the text as it was read
    return document
