"""A knowledge base copied to another store with its chunks and vectors: nothing is read, cut or embedded again."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from weightwright.address.stores import StoreAddress
from weightwright.errors import StoreError
from weightwright.ports import Chunk, Document, Progress, silent
from weightwright.rag.stores.base import DocumentInfo, Store
from weightwright.rag.stores.opening import open_like, open_store

_PASSES = 5  # over what others write meanwhile


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did: documents and chunks written, and documents that were there in the same version."""

    documents: int
    chunks: int
    unchanged: int

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        return {"documents": self.documents, "chunks": self.chunks, "unchanged": self.unchanged}


def copy(source: StoreAddress, target: StoreAddress, *, progress: Progress = silent) -> Copied:
    """Copy the knowledge base at `source` to `target`, which is made where there is none.

    Documents that `target` has in the same version stay, so a run that was stopped goes on where it was; others that
    only it has stay, too. Raises StoreError where both are the same, or `target` was made with another embedder or
    cut otherwise.
    """
    if str(source) == str(target):
        raise StoreError(f"{source.shown} cannot be copied to itself; give another address")
    with closing(open_store(source)) as old, closing(open_like(target, old.meta)) as new:
        documents = chunks = 0
        missing = _missing(old, new)
        unchanged = sum(1 for _ in old.documents()) - len(missing)
        for _ in range(_PASSES):
            if not missing:
                break
            written, of_chunks = _fill(old, new, missing, progress)
            documents, chunks = documents + written, chunks + of_chunks
            missing = _missing(old, new)
        if missing:
            raise StoreError(
                f"{len(missing)} documents of {source.shown} change faster than they are copied; run it again later"
            )
    return Copied(documents, chunks, unchanged)


def _missing(old: Store, new: Store) -> dict[str, DocumentInfo]:
    there = {info.id: info for info in new.documents()}
    return {info.id: info for info in old.documents() if there.get(info.id) != info}


def _fill(old: Store, new: Store, missing: dict[str, DocumentInfo], progress: Progress) -> tuple[int, int]:
    """Write the missing documents, one whole document at a time: how many, and their chunks."""
    done = chunks = 0
    for name, group in groupby(old.scan(), key=lambda row: row[0].document_id):
        info = missing.get(name)
        if info is None:
            continue
        rows = list(group)
        if len(rows) == info.chunks and rows[0][0].version == info.version:  # else it has changed: next time
            new.replace(_document(info, [chunk for chunk, _ in rows]), *_columns(rows))
            done, chunks = done + 1, chunks + len(rows)
            progress(done, len(missing), name)
    for info in missing.values():
        if not info.chunks:
            new.replace(_document(info, []), [], np.zeros((0, new.meta.width), dtype=np.float32))
            done += 1
    progress(len(missing), len(missing), "")
    return done, chunks


def _columns(rows: Sequence[tuple[Chunk, Any]]) -> tuple[list[Chunk], Any]:
    return [chunk for chunk, _ in rows], np.stack([vector for _, vector in rows])


def _document(info: DocumentInfo, chunks: Sequence[Chunk]) -> Document:
    """The document as its store knows it; of its text what the chunks hold, at its place."""
    text = [" "] * max((chunk.end for chunk in chunks), default=0)
    for chunk in chunks:
        text[chunk.start : chunk.end] = chunk.text
    document = Document(
        info.id,
        "".join(text),
        info.path,
        info.title,
        info.page_starts,
        dict(info.metadata),
        modified=info.modified,
    )
    vars(document)["version"] = info.version  # the cached hash, of the text as it was read
    return document
