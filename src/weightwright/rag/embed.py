"""Texts to vectors with a sentence-transformers model."""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weightwright.errors import ModelError
from weightwright.kernels.pool import release_threads
from weightwright.ports import Vectors

_BATCH_TOKENS = 4096  # padded tokens of one forward pass
_BATCH_TEXTS = 64
_MOST_UNKNOWN = 0.2  # of XQuAD's questions MiniLM knows all in English; in Chinese it lacks 25% to 100%
_HASH_BYTES = 1 << 22
_E5_PROMPTS = {"query": "query: ", "passage": "passage: "}  # arXiv 2212.03533, §3.4; not in older configs


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
        self._prompts = _prompts_of(model, str(folder))
        self.name = _identity(Path(folder), model)
        self.width = int(model.get_embedding_dimension())
        special = len(model.tokenizer("")["input_ids"])
        longest_prompt = max(self._count([prompt])[0] for prompt in self._prompts.values())
        self.max_tokens = int(model.max_seq_length or 512) - special - longest_prompt

    def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> Vectors:
        """Vectors [texts, width], f32, each of length 1."""
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
        return not ids or sum(token == unknown for token in ids) <= _MOST_UNKNOWN * len(ids)

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
            raise ModelError("the embedder is closed; open it again")
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


def _prompts_of(model: Any, label: str) -> dict[Literal["query", "passage"], str]:
    """What stands before a query and a passage: the model's own prompts, or E5's where they are missing."""
    own = model.prompts or {}
    passage = next((own[key] for key in ("passage", "document", "corpus") if own.get(key)), "")
    query = own.get("query", "")
    if not query and not passage and "e5" in label.lower().replace("-", "/").replace("_", "/").split("/"):
        return {"query": _E5_PROMPTS["query"], "passage": _E5_PROMPTS["passage"]}
    return {"query": query, "passage": passage}


def _identity(folder: Path, model: Any) -> str:
    """The same weights, the same name, wherever they lie: `bert-6x384@` and a hash of the weights."""
    config = _config_of(folder)
    layers, hidden = config.get("num_hidden_layers", "?"), model.get_embedding_dimension()
    kind = f"{config.get('model_type', 'model')}-{layers}x{hidden}"
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")) if folder.is_dir() else []
    digest = hashlib.sha256()
    if files:
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(_HASH_BYTES):
                    digest.update(block)
    else:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return f"{kind}@{digest.hexdigest()[:12]}"


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
