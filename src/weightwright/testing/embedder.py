"""A deterministic Embedder without a model: hashed terms, so that texts that share words are near."""

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from weightwright.ports import Vectors
from weightwright.rag.analyze import terms


class HashEmbedder:
    """Each term adds to one of `width` coordinates; tokens are counted roughly."""

    def __init__(self, width: int = 64, max_tokens: int = 128) -> None:
        self.name = f"hash-{width}"
        self.width = width
        self.max_tokens = max_tokens
        self.embedded: list[str] = []  # every text that was embedded, in order

    def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> Vectors:
        """Vectors [texts, width], f32, each of length 1."""
        self.embedded += texts
        vectors = np.full((len(texts), self.width), 1e-3, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term in terms(text):
                row[zlib.crc32(term.encode()) % self.width] += 1.0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """A token for every four characters of a word, and one for every other character but white space."""
        return [
            sum(-(-len(word) // 4) if word.isascii() else len(word) for word in text.split())
            for text in texts
        ]

    def close(self) -> None:
        """Nothing to free."""
