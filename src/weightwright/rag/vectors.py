"""Vectors of texts, each text once: those that a store holds already are taken from there."""

from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from weightwright.ports import Embedder, Vectors
from weightwright.rag.chunk import indexed_text
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import Compare


def held_vectors(store: Store, ids: Set[str]) -> dict[str, NDArray[np.float32]]:
    """The vector of each text in these documents, as the store's embedder made it."""
    if not ids:
        return {}
    where = Compare("document", "in", tuple(sorted(ids)))
    return {indexed_text(chunk): vector for chunk, vector in store.scan(where)}


def vectors_of(embedder: Embedder, texts: Sequence[str], held: Mapping[str, NDArray[np.float32]]) -> Vectors:
    """Passages' vectors [texts, width]; what is held or stands there several times is not embedded again."""
    missing = list({text: None for text in texts if text not in held})
    new = dict(zip(missing, embedder.embed(missing, kind="passage"), strict=True)) if missing else {}
    rows = [held[text] if text in held else new[text] for text in texts]
    return np.stack(rows) if rows else np.zeros((0, embedder.width), np.float32)
