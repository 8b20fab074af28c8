"""Embedders of any other kind, and on a GPU: sentence-transformers."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightwright.errors import ModelError
from weightwright.ports import Vectors
from weightwright.rag.embedders.base import CLOSED, Kind, identity, knows, marks, prompts_of

_BATCH_TOKENS = 4096  # padded tokens of one forward pass
_BATCH_TEXTS = 64


class SentenceTransformerEmbedder:
    """An Embedder in this process, safe to call from several threads."""

    def __init__(self, folder: str | Path, *, device: str = "auto") -> None:
        """Load the model in `folder` (or of a hub id). Raises ModelError where it cannot be loaded."""
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # "Loading weights" would stand among our own progress
        self._lock = threading.Lock()  # fast tokenizers keep padding and truncation as their own state
        try:
            model: Any = SentenceTransformer(
                str(folder), device=None if device == "auto" else device, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            reason = next(iter(str(error).splitlines()), repr(error))
            raise ModelError(
                f"{folder} cannot be loaded as an embedder: {reason}; "
                "expected a sentence-transformers model, for example minilm"
            ) from error
        self._model = model.eval()
        self._prompts = prompts_of(model.prompts or {}, str(folder))
        self.width = int(model.get_embedding_dimension())
        self.name = identity(Path(folder), self.width, model)
        special, prompts = model.tokenizer("")["input_ids"], self._ids(list(self._prompts.values()))
        self.max_tokens = int(model.max_seq_length or 512) - marks(special, prompts)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Vectors:
        """Vectors [texts, width], f32, each of length 1."""
        from weightwright.kernels.pool import release_threads

        prompt = self._prompts[kind]
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        with self._lock:
            counts = self._count(texts)
            for batch in _batches(counts, self.max_tokens):
                vectors[batch] = self._forward([prompt + texts[i] for i in batch])
        release_threads()
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without the model's own marks, as `max_tokens` counts them."""
        with self._lock:
            return self._count(texts)

    def reads(self, text: str) -> bool:
        """Whether the tokenizer knows nearly all of the text (an English model: no Chinese)."""
        unknown = self._loaded().tokenizer.unk_token_id
        with self._lock:
            ids = self._ids([text])[0]
        return knows(ids, unknown)

    def close(self) -> None:
        """Free the model."""
        with self._lock:
            self._model = None

    def _count(self, texts: Sequence[str]) -> list[int]:
        return [len(row) for row in self._ids(texts)]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self._loaded().tokenizer(
            list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
        )["input_ids"]
        return ids

    def _forward(self, texts: list[str]) -> Vectors:
        import torch

        model = self._loaded()
        with torch.inference_mode():
            features = {
                key: value.to(model.device) if hasattr(value, "to") else value
                for key, value in model.preprocess(texts).items()
            }
            rows = model(features)["sentence_embedding"].float()
            rows = torch.nn.functional.normalize(rows, dim=-1)
        return np.asarray(rows.cpu().numpy(), dtype=np.float32)

    def _loaded(self) -> Any:
        if self._model is None:
            raise ModelError(CLOSED)
        return self._model


def _batches(counts: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of texts of about equal length, longest first, so that little is padded."""
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    batches: list[list[int]] = []
    for i in order:
        if batches:
            widest = min(counts[batches[-1][0]], max_tokens) + 2
            if len(batches[-1]) < _BATCH_TEXTS and (len(batches[-1]) + 1) * widest <= _BATCH_TOKENS:
                batches[-1].append(i)
                continue
        batches.append([i])
    return batches
