"""Files into a knowledge base: add, remove, list, and sync with a folder.

Documents are embedded many at a time and written one at a time, each whole. What is there already in
the same version is not embedded again, so a run that was stopped goes on where it was.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from weightwright.errors import DataError
from weightwright.machine.heap import give_back
from weightwright.ports import Chunk, Document, Embedder, Progress, silent
from weightwright.rag.ahead import READ_AHEAD, ahead
from weightwright.rag.chunk import chunk_document, indexed_text
from weightwright.rag.languages import Tongues
from weightwright.rag.load import Skipped, load, sources
from weightwright.rag.settings import ChunkSettings, LoadSettings
from weightwright.rag.stores.base import DocumentInfo, Store, check_embedder
from weightwright.rag.vectors import held_vectors, vectors_of

_EMBED_TEXTS = 256  # chunks embedded at a time; fewer documents are lost to a kill, more are slower


@dataclass
class Report:
    """What a run did: documents written (or removed, or listed), their chunks, and what was left out."""

    documents: int = 0
    chunks: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    tongues: Tongues = field(default_factory=Tongues)  # of the documents written
    seen: dict[str, str] = field(default_factory=dict)  # id and path of all that was read, unchanged or not

    def to_json(self) -> dict[str, Any]:
        """The report as `kb --json` prints it."""
        return {
            "documents": self.documents,
            "chunks": self.chunks,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "skipped": [{"path": item.path, "reason": item.reason} for item in self.skipped],
        }


def add(
    store: Store,
    embedder: Embedder,
    paths: Sequence[str | Path],
    *,
    settings: LoadSettings | None = None,
    progress: Progress = silent,
) -> Report:
    """Read files and folders and put their documents into the store.

    Raises DataError where a path does not exist; a file that cannot be read is reported as skipped.
    """
    must_exist(paths)
    report = Report()
    _add(store, embedder, _loaded(paths, settings or LoadSettings(), report), report, progress)
    return report


def add_documents(
    store: Store, embedder: Embedder, documents: Iterable[Document], *, progress: Progress = silent
) -> Report:
    """Put documents that are in memory into the store."""
    report = Report()
    _add(store, embedder, documents, report, progress)
    return report


def sync(
    store: Store,
    embedder: Embedder,
    folder: str | Path,
    *,
    settings: LoadSettings | None = None,
    progress: Progress = silent,
) -> Report:
    """Add what `folder` holds, and delete documents that came from it and are gone.

    A file that is still there but can no longer be opened keeps its document.
    """
    if not Path(folder).is_dir():
        raise DataError(folder, "is not a folder; sync takes one, kb add takes files too")
    report = Report()
    _add(store, embedder, _loaded([folder], settings or LoadSettings(), report), report, progress)
    kept = {item.path for item in report.skipped if item.keep}
    inside = os.path.join(_absolute(folder), "")  # noqa: PTH118
    gone = [
        info.id
        for info in store.documents()
        if info.path.startswith(inside) and info.id not in report.seen and not _is_kept(info.path, kept)
    ]
    for document_id in gone:
        store.delete(document_id)
    report.removed = len(gone)
    return report


def _is_kept(path: str, kept: set[str]) -> bool:
    """Whether a file, or the archive that it lies in, is there and could not be opened."""
    return any(str(place) in kept for place in (PurePosixPath(path), *PurePosixPath(path).parents))


def remove(store: Store, names: Sequence[str]) -> Report:
    """Delete documents by id, file or folder. A name that nothing has is reported as skipped."""
    report = Report()
    known = list(store.documents())
    for name in names:
        path = _absolute(name)
        inside = os.path.join(path, "")  # noqa: PTH118
        named = [i for i in known if i.id == name or i.path == path or i.path.startswith(inside)]
        if not named:
            report.skipped.append(Skipped(name, "no document has this id or path; see: weightwright kb list"))
        for info in named:
            report.chunks += store.delete(info.id)
            report.documents += 1
        known = [info for info in known if info not in named]
    return report


# --- adding -----------------------------------------------------------------------------------------


def _add(
    store: Store, embedder: Embedder, documents: Iterable[Document], report: Report, progress: Progress
) -> None:
    """Embed in batches, write document by document; what comes next is read and cut meanwhile."""
    check_embedder(store.meta, embedder, "the knowledge base")
    known = {info.id: info for info in store.documents()}
    waiting: list[tuple[Document, list[Chunk]]] = []
    for cut in ahead(_cut(documents, store.meta.chunks, embedder, known, report), READ_AHEAD):
        waiting.append(cut)
        if sum(len(chunks) for _, chunks in waiting) >= _EMBED_TEXTS:
            _write(store, embedder, waiting, known, report, progress)
            waiting = []
    _write(store, embedder, waiting, known, report, progress)
    if report.documents:
        progress(report.documents, report.documents, f"{report.chunks} chunks")


def _cut(
    documents: Iterable[Document],
    settings: ChunkSettings,
    embedder: Embedder,
    known: dict[str, DocumentInfo],
    report: Report,
) -> Iterator[tuple[Document, list[Chunk]]]:
    """The documents that are new or have changed, under the ids that they get, with their chunks."""
    ids_at = _ids_at(known.values())
    for read in documents:
        document = _named(read, report.seen, known, ids_at)
        owner = report.seen.get(document.id)
        if owner is None and _is_anothers(document, known.get(document.id)):
            owner = known[document.id].path
        if owner is not None:
            reason = f"another document has the id {document.id!r} already ({owner})"
            report.skipped.append(Skipped(read.path or read.id, reason))
            continue
        report.seen[document.id] = document.path
        if _is_one_file(document):
            ids_at[document.path] = document.id
        if _is_unchanged(document, known.get(document.id)):
            report.unchanged += 1
            continue
        report.tongues.add(document.text)
        yield document, chunk_document(document, settings, embedder.count_tokens, embedder.max_tokens)


def _write(
    store: Store,
    embedder: Embedder,
    waiting: list[tuple[Document, list[Chunk]]],
    known: dict[str, DocumentInfo],
    report: Report,
    progress: Progress,
) -> None:
    versions = {document.version for document, _ in waiting}
    ids = {document.id for document, _ in waiting} & known.keys()
    ids |= {info.id for info in known.values() if info.version in versions}  # moved, or there twice
    texts = [indexed_text(chunk) for _, chunks in waiting for chunk in chunks]
    vectors = vectors_of(embedder, texts, held_vectors(store, ids))
    first = 0
    for document, chunks in waiting:
        store.replace(document, chunks, vectors[first : first + len(chunks)])
        first += len(chunks)
        report.documents += 1
        report.chunks += len(chunks)
        progress(report.documents, None, document.id)
    give_back()  # else a long run holds 100 MB of holes between what it keeps


def _is_unchanged(document: Document, known: DocumentInfo | None) -> bool:
    """Same content, and not moved away from the path that citations would name."""
    if known is None or known.version != document.version:
        return False
    return known.path == document.path or _exists(known.path)


def _ids_at(documents: Iterable[DocumentInfo]) -> dict[str, str]:
    """The id of the document at each path; a file of many documents (corpus.jsonl) is left out."""
    ids: dict[str, list[str]] = {}
    for info in documents:
        ids.setdefault(info.path, []).append(info.id)
    return {path: held[0] for path, held in ids.items() if path and len(held) == 1}


def _named(
    document: Document, seen: dict[str, str], known: dict[str, DocumentInfo], ids_at: dict[str, str]
) -> Document:
    """The document under the id that its file has already, or under a longer one where its own is taken.

    Two folders may both hold a README.md: the second becomes `folder/README.md`.
    """
    if not _is_one_file(document):
        return document  # a line of a corpus names itself
    folder = document.path.removesuffix(f"/{document.id}")
    candidates = [document.id, f"{PurePosixPath(folder).name}/{document.id}", document.path]
    if document.path in ids_at:
        candidates = [ids_at[document.path]]
    free = (i for i in candidates if i not in seen and not _is_anothers(document, known.get(i)))
    return replace(document, id=next(free, candidates[0]))


def _is_one_file(document: Document) -> bool:
    return document.metadata.get("format", "corpus") != "corpus"


def _is_anothers(document: Document, known: DocumentInfo | None) -> bool:
    """Whether an id belongs to another file that is still there."""
    if known is None or known.path in ("", document.path) or known.version == document.version:
        return False
    return _exists(known.path)


def _exists(path: str) -> bool:
    """Whether a file is there, or the archive or mail that it lies in."""
    return Path(path).exists() or any(parent.is_file() for parent in Path(path).parents)


def _loaded(paths: Sequence[str | Path], settings: LoadSettings, report: Report) -> Iterator[Document]:
    for source in sources(paths):
        for item in [source] if isinstance(source, Skipped) else load(source, settings):
            if isinstance(item, Skipped):
                report.skipped.append(item)
            else:
                yield item


def must_exist(paths: Sequence[str | Path]) -> None:
    """Raise DataError where a path does not exist."""
    for path in paths:
        if not os.path.lexists(path):
            raise DataError(path, "does not exist; give files or folders")


def _absolute(path: str | Path) -> str:
    return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100 (links stay as the user wrote them)
