"""MiniLM through sentence-transformers: the same vectors, an identity of its weights, what it reads."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from weightwright.address.packages import EMBEDDERS, files_of
from weightwright.errors import ModelError
from weightwright.rag.embed import SentenceTransformerEmbedder, _batches, _prompts_of

TEXTS = [
    "A short one.",
    "",
    "Sentence transformers map texts to vectors. " * 30,
    "年假有几天？",
    "Another short text here.",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = files_of(EMBEDDERS["minilm"])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def minilm(folder) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(folder, device="cpu")


@pytest.mark.model
def test_vectors_are_those_of_sentence_transformers(minilm, folder):
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    vectors = minilm.embed(TEXTS, kind="passage")
    assert vectors.shape == (5, minilm.width) == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert minilm.embed([], kind="query").shape == (0, 384)


@pytest.mark.model
def test_tokens_are_counted_without_the_models_own(minilm):
    assert minilm.count_tokens(["one two three", ""]) == [3, 0]
    assert minilm.count_tokens([]) == []
    assert minilm.max_tokens == 254
    longest = "word " * minilm.max_tokens
    cut = minilm.embed([longest, longest + "and more"], kind="passage")
    assert minilm.count_tokens([longest]) == [254]
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-5)


@pytest.mark.model
def test_the_name_is_of_the_weights_not_of_the_place(minilm, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    moved = SentenceTransformerEmbedder(tmp_path / "elsewhere", device="cpu")
    assert moved.name == minilm.name
    assert minilm.name.startswith("bert-6x384@")
    weights = tmp_path / "elsewhere" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert SentenceTransformerEmbedder(tmp_path / "elsewhere", device="cpu").name != minilm.name


@pytest.mark.model
def test_it_says_what_it_cannot_read(minilm):
    assert minilm.reads("How many days of leave?")
    assert minilm.reads("")
    assert not minilm.reads("黑豹队的防守丢了多少分？")


@pytest.mark.model
def test_threads_do_not_disturb_each_other(minilm):
    expected = minilm.embed(TEXTS, kind="passage")
    errors = []

    def work():
        try:
            for _ in range(3):
                np.testing.assert_allclose(minilm.embed(TEXTS, kind="passage"), expected, atol=2e-6)
                minilm.count_tokens(TEXTS)
                minilm.reads(TEXTS[0])
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.model
def test_closed_says_so(folder):
    embedder = SentenceTransformerEmbedder(folder, device="cpu")
    embedder.close()
    embedder.close()
    with pytest.raises(ModelError, match="closed"):
        embedder.embed(["x"], kind="query")


@pytest.mark.model
def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded as an embedder"):
        SentenceTransformerEmbedder(tmp_path, device="cpu")


def test_batches_hold_like_lengths_and_every_text_once():
    counts = [5, 300, 7, 250, 0, 6] * 50
    batches = _batches(counts, 254)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    for batch in batches:
        assert len(batch) <= 64
        assert len(batch) * (min(max(counts[i] for i in batch), 254) + 2) <= 4096
    assert len({0, 300} & {counts[i] for i in batches[0]}) == 1


class _Model:
    def __init__(self, prompts):
        self.prompts = prompts


@pytest.mark.parametrize(
    ("prompts", "label", "expected"),
    [
        ({}, "intfloat/multilingual-e5-small", ("query: ", "passage: ")),
        ({"query": "", "document": ""}, "sentence-transformers/all-MiniLM-L6-v2", ("", "")),
        ({"query": "Q: ", "document": "D: "}, "x/y", ("Q: ", "D: ")),
        ({"query": "Q: "}, "intfloat/e5-base", ("Q: ", "")),
        (None, "x/code5", ("", "")),
    ],
)
def test_prompts(prompts, label, expected):
    found = _prompts_of(_Model(prompts), label)
    assert (found["query"], found["passage"]) == expected
