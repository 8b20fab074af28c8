"""Texts to vectors with a sentence-transformers model.

Embedders of MiniLM's kind embed a question in numpy: importing torch and sentence-transformers takes 12 s
of a processor, the question itself 0.2.
"""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weightwright.errors import ModelError
from weightwright.ports import Embedder, Vectors
from weightwright.rag.bert import Bert, read_bert

Kind = Literal["query", "passage"]

_FEW_TOKENS = 4096  # so many at once are embedded in numpy, on one core, where that is possible
_LOADING = (
    180e9  # multiplications in the 9 s that sentence-transformers takes to load: 17,000 tokens of MiniLM
)
_BATCH_TOKENS = 4096  # padded tokens of one forward pass
_BATCH_TEXTS = 64
_MOST_UNKNOWN = 0.2  # of XQuAD's questions MiniLM knows all in English; in Chinese it lacks 25% to 100%
_CLOSED = "the embedder is closed; open it again"
_HASH_BYTES = 1 << 22
_E5_PROMPTS = {"query": "query: ", "passage": "passage: "}  # arXiv 2212.03533, §3.4; not in older configs


def open_folder(folder: str | Path, *, device: str = "auto") -> Embedder:
    """The Embedder in a folder (or of a hub id). Raises ModelError where it cannot be loaded."""
    bert = read_bert(Path(folder))
    return (
        SentenceTransformerEmbedder(folder, device=device)
        if bert is None
        else BertEmbedder(bert, folder, device)
    )


class BertEmbedder:
    """An Embedder of MiniLM's kind: few tokens in numpy, more with sentence-transformers, loaded then.

    It is loaded where numpy would take longer than loading does, over all calls of many tokens together. Both make
    the same vectors to 1e-6. Safe to call from several threads.
    """

    def __init__(self, bert: Bert, folder: str | Path, device: str) -> None:
        """Use `bert`, read from `folder`."""
        self._bert: Bert | None = bert
        self._open_whole = partial(SentenceTransformerEmbedder, folder, device=device)
        self._whole: SentenceTransformerEmbedder | None = None
        self._lock = threading.Lock()
        self._many_tokens = 0  # of all calls with more than a few
        self._prompts = _prompts_of(bert.prompts, str(folder))
        self.name = _identity(Path(folder), bert.width)
        self.width = bert.width
        self.max_tokens = bert.longest - _marks(
            bert.token_ids([""], marks=True)[0], bert.token_ids(list(self._prompts.values()))
        )

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Vectors:
        """Vectors [texts, width], f32, each of length 1."""
        tokens = sum(min(count, self.max_tokens) for count in self.count_tokens(texts))
        whole = self._loaded(tokens) if tokens > _FEW_TOKENS else None
        if whole is not None:
            return whole.embed(texts, kind=kind)
        return self._small().embed([self._prompts[kind] + text for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without the model's own marks, as `max_tokens` counts them."""
        return [len(ids) for ids in self._small().token_ids(texts)]

    def reads(self, text: str) -> bool:
        """Whether the tokenizer knows nearly all of the text (an English model: no Chinese)."""
        bert = self._small()
        return _knows(bert.token_ids([text])[0], bert.unknown)

    def close(self) -> None:
        """Free the model."""
        self._bert = None
        if self._whole is not None:
            self._whole.close()

    def _loaded(self, tokens: int) -> "SentenceTransformerEmbedder | None":
        """sentence-transformers' model for a call of many tokens; None where loading it is not worth it yet."""
        work = self._small().multiplications
        with self._lock:
            self._many_tokens += tokens
            if self._many_tokens * work > _LOADING:
                self._whole = self._whole or self._open_whole()
            return self._whole

    def _small(self) -> Bert:
        if self._bert is None:
            raise ModelError(_CLOSED)
        return self._bert


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
        self._prompts = _prompts_of(model.prompts or {}, str(folder))
        self.width = int(model.get_embedding_dimension())
        self.name = _identity(Path(folder), self.width, model)
        special, prompts = model.tokenizer("")["input_ids"], self._ids(list(self._prompts.values()))
        self.max_tokens = int(model.max_seq_length or 512) - _marks(special, prompts)

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
        return _knows(ids, unknown)

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
            raise ModelError(_CLOSED)
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


def _marks(special: Sequence[int], prompts: Sequence[Sequence[int]]) -> int:
    """Tokens of the model's own beside a text's: its marks and the longest prompt."""
    return len(special) + max(len(prompt) for prompt in prompts)


def _knows(ids: Sequence[int], unknown: int) -> bool:
    return not ids or sum(token == unknown for token in ids) <= _MOST_UNKNOWN * len(ids)


def _prompts_of(own: Mapping[str, str], label: str) -> dict[Kind, str]:
    """What stands before a query and a passage: the model's own prompts, or E5's where they are missing."""
    passage = next((own[key] for key in ("passage", "document", "corpus") if own.get(key)), "")
    query = own.get("query", "")
    if not query and not passage and "e5" in label.lower().replace("-", "/").replace("_", "/").split("/"):
        return {"query": _E5_PROMPTS["query"], "passage": _E5_PROMPTS["passage"]}
    return {"query": query, "passage": passage}


def _identity(folder: Path, width: int, model: Any = None) -> str:
    """The same weights, the same name, wherever they lie: `bert-6x384@` and a hash of the weights.

    `model` is needed where the folder holds no file of weights.
    """
    config = _config_of(folder)
    kind = f"{config.get('model_type', 'model')}-{config.get('num_hidden_layers', '?')}x{width}"
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
