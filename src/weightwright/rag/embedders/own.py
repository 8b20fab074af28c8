"""Embedders of MiniLM's kind: a question in numpy, many passages through the engine's kernels.

Importing torch takes seconds, a question in numpy 0.2; so the kernels are loaded when there is more to embed.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weightwright.errors import ModelError
from weightwright.ports import Vectors
from weightwright.rag.embedders.base import CLOSED, Kind, identity, knows, marks, prompts_of
from weightwright.rag.embedders.bert import Bert, unit

if TYPE_CHECKING:
    from weightwright.executor.encoder import Encoder
    from weightwright.rag.embedders.sentence_transformer import SentenceTransformerEmbedder

log = logging.getLogger(__name__)

_TEXTS = 1024  # at a time: their tokens take memory
_FEW_TOKENS = 4096  # so many at once are embedded in numpy, on one core
_LOADING = (
    60e9  # multiplications of numpy in the 3 s that torch and the packed weights take: 5,600 tokens of MiniLM
)
_CLOSE = 0.9993  # the cosine to numpy's vectors that a form must keep on each of the texts below
_TRIAL = (  # short ones lose most: nothing is averaged
    "",
    "leave",
    "Staff may carry over at most five days of annual leave into the next year; the rest lapses on 31 March.",
    "Error 0x80070057 (E_INVALIDARG): retry with --max-tokens=4096, or see https://example.org/help#limits.",
    "员工每年享有十五天带薪年假，未休完的假期最多可以结转五天到下一年度，逾期作废。",
    "The treaty of 1648, negotiated in Münster and Osnabrück, ended a war in which about 8 million people died.",
)


class BertEmbedder:
    """An Embedder of MiniLM's kind: few tokens in numpy, more through the engine's kernels, loaded then.

    They are loaded where numpy would take longer than loading does, over all calls of many tokens together.
    Where they cannot run, and on a GPU, sentence-transformers takes their place. Safe to call from several threads.
    """

    def __init__(self, bert: Bert, folder: str | Path, device: str) -> None:
        """Use `bert`, read from `folder`."""
        self._bert: Bert | None = bert
        self._folder, self._device = folder, device
        self._whole: _Kernels | SentenceTransformerEmbedder | None = None
        self._lock = threading.Lock()
        self._many_tokens = 0  # of all calls with more than a few
        self._prompts = prompts_of(bert.prompts, str(folder))
        self.name = identity(Path(folder), bert.width)
        self.width = bert.width
        special, prompts = bert.token_ids([""], marks=True)[0], bert.token_ids(list(self._prompts.values()))
        self.max_tokens = bert.longest - marks(special, prompts)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Vectors:
        """Vectors [texts, width], f32, each of length 1: of many tokens to a cosine of 0.999 (int8, bf16)."""
        vectors = [np.zeros((0, self.width), np.float32)]
        for first in range(0, len(texts), _TEXTS):
            vectors.append(self._some(texts[first : first + _TEXTS], kind))
        return np.concatenate(vectors)

    def _some(self, texts: Sequence[str], kind: Kind) -> Vectors:
        bert = self._small()
        rows = bert.rows([self._prompts[kind] + text for text in texts])
        tokens = sum(map(len, rows))
        whole = self._loaded(tokens) if tokens > _FEW_TOKENS else None
        if whole is None:
            return bert.vectors(rows)
        return whole.vectors(rows) if isinstance(whole, _Kernels) else whole.embed(texts, kind=kind)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text without the model's own marks, as `max_tokens` counts them."""
        return [len(ids) for ids in self._small().token_ids(texts)]

    def reads(self, text: str) -> bool:
        """Whether the tokenizer knows nearly all of the text (an English model: no Chinese)."""
        bert = self._small()
        return knows(bert.token_ids([text])[0], bert.unknown)

    def close(self) -> None:
        """Free the model."""
        self._bert = None
        with self._lock:
            if self._whole is not None:
                self._whole.close()

    def _loaded(self, tokens: int) -> "_Kernels | SentenceTransformerEmbedder | None":
        """What embeds a call of many tokens; None where loading it is not worth it yet."""
        bert = self._small()
        with self._lock:
            self._many_tokens += tokens
            if self._whole is None and self._many_tokens * bert.multiplications > _LOADING:
                self._whole = _whole(bert, self._folder, self._device)
            return self._whole

    def _small(self) -> Bert:
        if self._bert is None:
            raise ModelError(CLOSED)
        return self._bert


class _Kernels:
    """The engine's kernels over a model's texts, in the fastest forms that keep its vectors."""

    def __init__(self, bert: Bert) -> None:
        self._bert, self._lock = bert, threading.Lock()
        self._encoder: Encoder | None = _encoder(bert)

    def vectors(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Vectors [texts, width], f32, each of length 1, of texts as token ids with the marks."""
        from weightwright.kernels.pool import release_threads

        with self._lock:
            if self._encoder is None:
                raise ModelError(CLOSED)
            vectors = _pooled(self._encoder, self._bert, rows)
            self._bert.let_go()
        release_threads()
        return vectors

    def close(self) -> None:
        with self._lock:
            self._encoder = None


def _whole(bert: Bert, folder: str | Path, device: str) -> "_Kernels | SentenceTransformerEmbedder":
    from weightwright.kernels import encode
    from weightwright.machine.device import pick_device

    if pick_device(device) == "cpu" and encode.supported(bert.width // bert.heads):
        return _Kernels(bert)
    from weightwright.rag.embedders.sentence_transformer import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(folder, device=device)


def _encoder(bert: Bert) -> "Encoder":
    """With the fastest layers whose vectors are close enough to numpy's."""
    from weightwright.executor.encoder import Encoder, candidates
    from weightwright.machine.heap import give_back

    rows, close = bert.rows(_TRIAL), np.zeros(1)
    exact = bert.vectors(rows)
    for forms in candidates(bert.layers):
        encoder = Encoder(bert.weights, heads=bert.heads, eps=bert.eps, forms=forms)
        close = (_pooled(encoder, bert, rows) * exact).sum(axis=1)
        log.info("embedding in %s: cosine %.5f to f32 at least", ", ".join(forms), close.min())
        if close.min() >= _CLOSE:
            bert.let_go()
            give_back()
            return encoder
    raise ModelError(
        f"this CPU's kernels give other vectors than numpy (cosine {close.min():.4f}); please report it"
    )


def _pooled(encoder: "Encoder", bert: Bert, rows: Sequence[Sequence[int]]) -> Vectors:
    vectors = np.zeros((len(rows), bert.width), dtype=np.float32)
    for i, states in enumerate(encoder.states(rows)):
        vectors[i] = (states.mean(dim=0) if bert.mean else states[0]).numpy()
    return unit(vectors)
