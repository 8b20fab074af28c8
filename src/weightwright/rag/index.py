"""Files into a knowledge base: add, remove, list, and sync with a folder.

Documents are embedded many at a time and written one at a time, each whole. What is there already in
the same version is not embedded again, so a run that was stopped goes on where it was.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightwright.errors import DataError
from weightwright.ports import Chunk, Document, Embedder, Progress, silent
from weightwright.rag.chunk import chunk_document, indexed_text
from weightwright.rag.load import Skipped, load, sources
from weightwright.rag.settings import LoadSettings
from weightwright.rag.stores.base import DocumentInfo, Store, check_embedder

_EMBED_TEXTS = 256  # chunks embedded at a time; fewer documents are lost to a kill, more are slower


@dataclass
class Report:
    """What a run did: documents written (or removed, or listed), their chunks, and what was left out."""

    documents: int = 0
    chunks: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)

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
        raise DataError(f"{folder} is not a folder; sync takes one, kb add takes files too")
    report, seen = Report(), set[str]()

    def noted(documents: Iterator[Document]) -> Iterator[Document]:
        for document in documents:
            seen.add(document.id)
            yield document

    _add(store, embedder, noted(_loaded([folder], settings or LoadSettings(), report)), report, progress)
    kept = {item.path for item in report.skipped if item.keep}
    inside = os.path.join(_absolute(folder), "")  # noqa: PTH118
    gone = [
        info.id
        for info in store.documents()
        if info.path.startswith(inside) and info.id not in seen and info.path not in kept
    ]
    for document_id in gone:
        store.delete(document_id)
    report.removed = len(gone)
    return report


def remove(store: Store, names: Sequence[str]) -> Report:
    """Delete documents by id, file or folder. A name that nothing has is reported as skipped."""
    report = Report()
    known = list(store.documents())
    for name in names:
        path = _absolute(name)
        inside = os.path.join(path, "")  # noqa: PTH118
        found = [i for i in known if i.id == name or i.path == path or i.path.startswith(inside)]
        if not found:
            report.skipped.append(Skipped(name, "no document has this id or path; see: weightwright kb list"))
        for info in found:
            report.chunks += store.delete(info.id)
            report.documents += 1
        known = [info for info in known if info not in found]
    return report


# --- adding -----------------------------------------------------------------------------------------


def _add(
    store: Store, embedder: Embedder, documents: Iterable[Document], report: Report, progress: Progress
) -> None:
    """Chunk, embed in batches, write document by document."""
    check_embedder(store.meta, embedder, "the knowledge base")
    known = {info.id: info for info in store.documents()}
    paths: dict[str, str] = {}
    waiting: list[tuple[Document, list[Chunk]]] = []
    for document in documents:
        clash = _clash(document, paths, known)
        if clash is not None:
            report.skipped.append(Skipped(document.path or document.id, clash))
            continue
        paths[document.id] = document.path
        if _is_unchanged(document, known.get(document.id)):
            report.unchanged += 1
            continue
        chunks = chunk_document(document, store.meta.chunks, embedder.count_tokens, embedder.max_tokens)
        waiting.append((document, chunks))
        if sum(len(chunks) for _, chunks in waiting) >= _EMBED_TEXTS:
            _write(store, embedder, waiting, report, progress)
            waiting = []
    _write(store, embedder, waiting, report, progress)
    if report.documents:
        progress(report.documents, report.documents, f"{report.chunks} chunks")


def _write(
    store: Store,
    embedder: Embedder,
    waiting: list[tuple[Document, list[Chunk]]],
    report: Report,
    progress: Progress,
) -> None:
    vectors = embedder.embed([indexed_text(c) for _, chunks in waiting for c in chunks], kind="passage")
    first = 0
    for document, chunks in waiting:
        store.replace(document, chunks, vectors[first : first + len(chunks)])
        first += len(chunks)
        report.documents += 1
        report.chunks += len(chunks)
        progress(report.documents, None, document.id)


def _is_unchanged(document: Document, known: DocumentInfo | None) -> bool:
    """Same content, and not moved away from the path that citations would name."""
    if known is None or known.version != document.version:
        return False
    return known.path == document.path or Path(known.path).exists()


def _clash(document: Document, paths: dict[str, str], known: dict[str, DocumentInfo]) -> str | None:
    """Why this document must not take the place of another file's, if it must not."""
    if document.id in paths:
        return f"another document of this run has the id {document.id!r} ({paths[document.id]})"
    before = known.get(document.id)
    if before is None or before.path == document.path or before.version == document.version:
        return None
    if before.path and document.path and Path(before.path).exists():
        return (
            f"the id {document.id!r} belongs to {before.path}; remove that first, or add a folder above both"
        )
    return None


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
            raise DataError(f"{path} does not exist; give files or folders")


def _absolute(path: str | Path) -> str:
    return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100 (links stay as the user wrote them)
