"""From a question to chunks: dense, terms, or both fused by reciprocal ranks."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from weightwright.config import nearest
from weightwright.errors import SettingsError
from weightwright.ports import Embedder, Hit, Vectors
from weightwright.rag.settings import Mode, RetrieveSettings
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import BUILT_IN_FIELDS, Filter, fields_of

Key = TypeVar("Key", bound=Hashable)


def retrieve(
    store: Store,
    embedder: Embedder | None,
    question: str,
    k: int,
    settings: RetrieveSettings | None = None,
    where: Filter | None = None,
    vector: NDArray[np.float32] | None = None,
) -> list[Hit]:
    """The k best chunks for a question, best first; their scores are comparable within one call only.

    `vector` [width] is the question's, where it is known already. A hybrid search leaves vectors out for a
    question that the embedder cannot read (Chinese for an English model): its ranking would be noise.
    """
    settings = settings or RetrieveSettings()
    if not question.strip():
        return []
    mode = _mode(store, settings.mode, embedder, question)
    if where is not None and not store.capabilities.filters:
        raise SettingsError("this store cannot restrict a search; leave out --where")
    if mode == "terms":
        return store.search_terms(question, k, where)
    if vector is None:
        vector = _needed(embedder, settings).embed([question], kind="query")[0]
    if mode == "dense":
        return store.search_vector(vector, k, where)
    depth = max(k, settings.candidates)
    dense = store.search_vector(vector, depth, where)
    terms = store.search_terms(question, depth, where)
    return fuse_hits([dense, terms], settings.rrf_k)[:k]


def retrieve_documents(
    store: Store,
    embedder: Embedder | None,
    question: str,
    k: int,
    settings: RetrieveSettings | None = None,
    where: Filter | None = None,
    vector: NDArray[np.float32] | None = None,
) -> list[tuple[str, float]]:
    """The k best documents and their best chunk's score, best first.

    Chunks are fetched deeper and deeper until k documents are among them or there are no more.
    """
    depth = k
    while True:
        hits = retrieve(store, embedder, question, depth, settings, where, vector)
        best: dict[str, float] = {}
        for hit in hits:
            best.setdefault(hit.chunk.document_id, hit.score)
        if len(best) >= k or len(hits) < depth:
            return list(best.items())[:k]
        depth *= 4


def query_vectors(
    embedder: Embedder | None, questions: Sequence[str], settings: RetrieveSettings
) -> Vectors | None:
    """The vectors [questions, width] of many questions at once, or None where the mode needs none."""
    if settings.mode == "terms":
        return None
    return _needed(embedder, settings).embed(questions, kind="query")


def check_fields(store: Store, where: Filter | None) -> None:
    """Raise SettingsError where a condition names a field that no document has."""
    unknown = set() if where is None else fields_of(where) - set(BUILT_IN_FIELDS)
    known: set[str] = set()
    for info in store.documents() if unknown else ():
        known |= info.metadata.keys()
        if unknown <= known:
            return
    if unknown - known and known:
        field = min(unknown - known)
        names = sorted(known | set(BUILT_IN_FIELDS))
        raise SettingsError(
            f"no document has a field {field!r}{nearest(field, names)}; fields here: {', '.join(names)}"
        )


def reads(embedder: Embedder | None, text: str) -> bool:
    """Whether the embedder knows the characters of a text; one that cannot say is believed to."""
    known = getattr(embedder, "reads", None)
    return known is None or bool(known(text))


def _mode(store: Store, asked: Mode, embedder: Embedder | None, question: str) -> Mode:
    """How this store is searched for this question. Raises SettingsError where it cannot be."""
    if not store.capabilities.terms:
        if asked == "terms":
            raise SettingsError("this store has no search for terms; use --mode dense")
        return "dense"
    return "terms" if asked == "hybrid" and not reads(embedder, question) else asked


def _needed(embedder: Embedder | None, settings: RetrieveSettings) -> Embedder:
    if embedder is None:
        raise SettingsError(f"mode={settings.mode} needs an embedder; name one, or use mode=terms")
    return embedder


def reciprocal_rank_fusion(rankings: Sequence[Sequence[Key]], k: int = 60) -> list[tuple[Key, float]]:
    """Items with the sum of 1 / (k + rank) over the rankings that hold them, best first.

    Cormack, Clarke, Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet ...", ranks from 1.
    Equal sums stand in the order in which they first came up.
    """
    scores: dict[Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


def fuse_hits(rankings: Sequence[Sequence[Hit]], k: int = 60) -> list[Hit]:
    """Hits of several rankings fused, each with its fused score."""
    by_id = {hit.chunk.id: hit for ranking in rankings for hit in ranking}
    fused = reciprocal_rank_fusion([[hit.chunk.id for hit in ranking] for ranking in rankings], k)
    return [replace(by_id[chunk_id], score=score) for chunk_id, score in fused]
