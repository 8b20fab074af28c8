"""OpenAI's embeddings as a client asks for them and reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weightwright.ports import Vectors


def write_request(texts: Sequence[str], model: str) -> dict[str, Any]:
    """The body for `/embeddings`."""
    return {"model": model, "input": list(texts), "encoding_format": "float"}


def read_vectors(answer: Mapping[str, Any], texts: int) -> Vectors:
    """Vectors [texts, width], f32, in the order of the texts. Raises ValueError for anything else."""
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the answer holds no embeddings: {error!r}") from error
    if vectors.ndim != 2 or len(vectors) != texts:
        raise ValueError(f"{len(vectors)} vectors came for {texts} texts")
    return vectors
