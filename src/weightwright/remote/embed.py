"""An Embedder over HTTP: `/v1/embeddings` of any server that speaks OpenAI's API."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from weightwright.errors import RemoteError
from weightwright.ports import Vectors
from weightwright.remote.client import Client
from weightwright.wire.openai import embeddings

_BATCH = 64


class RemoteEmbedder:
    """Vectors from a server; the width is asked once at opening."""

    def __init__(self, url: str, name: str | None, *, max_tokens: int = 512) -> None:
        self._client = Client(url)
        self._model = name if name is not None else str(self._client.only_model()["id"])
        self.name = f"{self._client.url}#{self._model}"
        self.max_tokens = max_tokens
        self.width = int(self._vectors(["width"]).shape[1])

    def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> Vectors:
        """Vectors [texts, width], f32, each of length 1; `kind` makes no difference over this API."""
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.concatenate([self._vectors(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """An upper estimate, since the server does not say: a token per 3 bytes of UTF-8, and two."""
        return [len(text.encode()) // 3 + 2 for text in texts]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        body = embeddings.write_request(texts, self._model)
        answer = self._client.start(self._client.post("/embeddings", body)).result()
        try:
            vectors = embeddings.read_vectors(answer, len(texts))
        except ValueError as error:
            raise RemoteError(f"{self.name} did not answer with embeddings: {error}") from error
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
