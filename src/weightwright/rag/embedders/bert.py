"""BERT in numpy, for embedders of MiniLM's kind: a question is embedded before torch would be imported.

Read from the folder of a sentence-transformers model: BERT's layers (arXiv 1810.04805, §3), the mean of
its tokens' vectors or the first one, made to length one.
"""

import json
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from weightwright.ports import Vectors

_LIKE_BERT: Mapping[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "dtype": "float32",
    "torch_dtype": "float32",
}
_BATCH_TEXTS = 128  # cut into tokens at a time
_POOLED = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}  # up to version 5
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


@dataclass(frozen=True)
class Bert:
    """The weights by their names, the tokenizer, and what the folder's files say."""

    weights: Mapping[str, NDArray[np.float32]]
    pages: mmap.mmap  # of the file, in which the weights lie
    tokenizer: Tokenizer
    layers: int
    heads: int
    eps: float
    longest: int  # tokens of a text with the model's own marks; longer ones are cut
    mean: bool  # the tokens' mean; else the first token's vector
    unknown: int  # the id of what the tokenizer does not know
    prompts: Mapping[str, str]

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.weights["embeddings.LayerNorm.weight"].shape[0])

    @property
    def multiplications(self) -> int:
        """Of one token with the layers' matrices."""
        return sum(t.size for name, t in self.weights.items() if name.startswith("encoder.") and t.ndim == 2)

    def token_ids(self, texts: Sequence[str], *, marks: bool = False) -> list[list[int]]:
        """Token ids of each text, uncut; `marks` are the model's own around it."""
        return [
            encoding.ids
            for first in range(0, len(texts), _BATCH_TEXTS)  # an encoding is a hundred times its ids
            for encoding in self.tokenizer.encode_batch_fast(
                list(texts[first : first + _BATCH_TEXTS]), add_special_tokens=marks
            )
        ]

    def let_go(self) -> None:
        """Let the system take back the memory of weights that have been read; they are read again when used."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.pages.madvise(mmap.MADV_DONTNEED)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with the model's marks, cut to the longest that it takes."""
        every = self.token_ids(texts, marks=True)
        return [ids if len(ids) <= self.longest else [*ids[: self.longest - 1], ids[-1]] for ids in every]

    def vectors(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Vectors [texts, width], f32, each of length 1, of texts as `rows` gives them."""
        found = np.zeros((len(rows), self.width), dtype=np.float32)
        with threadpool_limits(
            1, user_api="blas"
        ):  # BLAS threads that wait for each other cost more than they do
            for i, ids in enumerate(rows):
                states = self._states(np.asarray(ids))
                found[i] = states.mean(axis=0) if self.mean else states[0]
        return unit(found)

    def _states(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The last layer's states [tokens, width] of one text."""
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."
            mixed = self._linear(self._attention(x, at + "attention.self."), at + "attention.output.dense")
            x = self._norm(x + mixed, at + "attention.output.LayerNorm")
            inner = _gelu(self._linear(x, at + "intermediate.dense"))
            x = self._norm(x + self._linear(inner, at + "output.dense"), at + "output.LayerNorm")
        return x

    def _attention(self, x: NDArray[np.float32], at: str) -> NDArray[np.float32]:
        """Every token attends to every other; x and the result [tokens, width]."""
        q, k, v = (
            self._linear(x, at + name).reshape(len(x), self.heads, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(1, 2) / np.float32(np.sqrt(q.shape[-1]))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (shares / shares.sum(axis=-1, keepdims=True)) @ v
        return np.asarray(mixed.swapaxes(0, 1).reshape(len(x), -1))

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        y: NDArray[np.float32] = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y

    def _norm(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.eps))
        y: NDArray[np.float32] = x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return y


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each x times the normal distribution's share below x (arXiv 1606.08415)."""
    from scipy.special import erf

    half = np.float32(0.5) * x
    return np.asarray(half + half * erf(x * np.float32(np.sqrt(0.5))), dtype=np.float32)


def unit(vectors: Vectors) -> Vectors:
    """Each vector [n, width] at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def read_bert(folder: Path) -> Bert | None:
    """The model in a sentence-transformers folder; None where it is of any other kind, or not whole."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        config, limits = _json(folder / "config.json"), _json(folder / "sentence_bert_config.json")
        words, said = _json(folder / "tokenizer.json"), _json(folder / "tokenizer_config.json")
        own = folder / "config_sentence_transformers.json"
        pooled = _pooled(_json(folder / modules[1]["path"] / "config.json"))
        if not (
            [module["type"].rpartition(".")[2] for module in modules] in _MODULES
            and not modules[0]["path"]
            and all(config.get(name, value) == value for name, value in _LIKE_BERT.items())
            and pooled in ("mean", "cls")
            and not limits.get("do_lower_case")
            and limits.get("transformer_task", "feature-extraction") == "feature-extraction"
            and _cuts_as_it_says(words, said)
        ):
            return None
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        weights, pages = _weights(folder / "model.safetensors")
        return Bert(
            weights=weights,
            pages=pages,
            tokenizer=tokenizer,
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            eps=float(config["layer_norm_eps"]),
            longest=min(
                int(limits.get("max_seq_length") or said["model_max_length"]),
                int(config["max_position_embeddings"]),
            ),
            mean=pooled == "mean",
            unknown=_unknown(words["model"]),
            prompts=(_json(own) if own.is_file() else {}).get("prompts") or {},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _unknown(model: Mapping[str, Any]) -> int:
    """The id of what a tokenizer does not know."""
    return int(model["unk_id"] if model["type"] == "Unigram" else model["vocab"][model["unk_token"]])


def _json(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def _pooled(pooling: Mapping[str, Any]) -> str:
    """How tokens' vectors become one; several ways or parts of the text only are no way that is known here."""
    if not pooling.get("include_prompt", True):
        return ""
    older = [_POOLED.get(name, "") for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
    return str(pooling.get("pooling_mode", older[0] if len(older) == 1 else ""))


def _cuts_as_it_says(words: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether tokenizer.json is what transformers cuts by: WordPieces as tokenizer_config.json has it, too."""
    normalizer = words["normalizer"]
    if words["model"]["type"] == "Unigram":  # other classes build their own rules around the pieces
        return said.get("tokenizer_class") == "PreTrainedTokenizerFast"
    names = {"lowercase": "do_lower_case", "strip_accents": "strip_accents"}
    names["handle_chinese_chars"] = "tokenize_chinese_chars"
    return (words["model"]["type"], normalizer["type"]) == ("WordPiece", "BertNormalizer") and all(
        normalizer[ours] == said.get(theirs, normalizer[ours]) for ours, theirs in names.items()
    )


def _weights(file: Path) -> tuple[dict[str, NDArray[np.float32]], mmap.mmap]:
    """The tensors that `Bert` reads, f32, as they lie in the file, and its pages: only what is used takes memory.

    Raises ValueError for other types.
    """
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
        pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    data = np.frombuffer(pages, np.uint8, offset=8 + length)
    used = {}
    for whole, said in header.items():
        name = whole.removeprefix("bert.")
        if (
            not name.startswith(("embeddings.", "encoder."))
            or len(said["shape"]) > 2
            or "position_ids" in name
        ):
            continue
        if said["dtype"] != "F32":
            raise ValueError(f"{file} holds other types than f32")
        start, end = said["data_offsets"]
        used[name] = data[start:end].view(np.float32).reshape(said["shape"])
    return used, pages
