"""MiniLM in numpy, by our kernels and through sentence-transformers: vectors, identity, what it reads."""

import ast
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from weightwright.address.packages import EMBEDDERS, files_of
from weightwright.errors import ModelError
from weightwright.rag.embedders import own
from weightwright.rag.embedders.base import prompts_of
from weightwright.rag.embedders.bert import read_bert
from weightwright.rag.embedders.opening import open_folder
from weightwright.rag.embedders.own import BertEmbedder
from weightwright.rag.embedders.sentence_transformer import SentenceTransformerEmbedder, _batches

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


@pytest.fixture(scope="module", params=["numpy", "torch"])
def minilm(folder, request):
    if request.param == "torch":
        return SentenceTransformerEmbedder(folder, device="cpu")
    opened = open_folder(folder, device="cpu")
    assert isinstance(opened, BertEmbedder)
    return opened


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
    moved = open_folder(tmp_path / "elsewhere", device="cpu")
    assert moved.name == minilm.name
    assert minilm.name.startswith("bert-6x384@")
    weights = tmp_path / "elsewhere" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert open_folder(tmp_path / "elsewhere", device="cpu").name != minilm.name


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
@pytest.mark.parametrize("open_", [open_folder, SentenceTransformerEmbedder])
def test_closed_says_so(folder, open_):
    embedder = open_(folder, device="cpu")
    embedder.close()
    embedder.close()
    with pytest.raises(ModelError, match="closed"):
        embedder.embed(["x"], kind="query")


@pytest.mark.model
def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded as an embedder"):
        open_folder(tmp_path, device="cpu")


@pytest.mark.model
def test_a_question_is_embedded_without_torch(folder):
    script = f"""
import sys
from weightwright.connect import open_embedder
assert open_embedder({str(folder)!r}).embed(["How many days?"], kind="query").shape == (1, 384)
print(sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "sentence_transformers", "sklearn", "peft", "bitsandbytes", "pandas"}
    assert heavy & set(ast.literal_eval(loaded)) == set()


@pytest.mark.model
def test_many_tokens_go_through_the_kernels_and_mean_the_same(folder, monkeypatch):
    embedder = open_folder(folder, device="cpu")
    few = embedder.embed(TEXTS, kind="passage")
    assert embedder._whole is None
    monkeypatch.setattr(own, "_FEW_TOKENS", 10)
    monkeypatch.setattr(own, "_LOADING", 0)
    many = embedder.embed(TEXTS, kind="passage")
    assert isinstance(embedder._whole, own._Kernels)
    assert (few * many).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)
    order = [3, 0, 4, 2, 1]
    again = embedder.embed([TEXTS[i] for i in order], kind="passage")
    np.testing.assert_allclose(again, many[order], atol=1e-5)  # of a text alone, whatever stands beside it
    embedder.close()
    with pytest.raises(ModelError, match="closed"):
        embedder.embed(["x"], kind="query")


@pytest.mark.model
def test_odd_texts_have_vectors_like_any_other(folder):
    """Nothing to read, nothing known, and far more than the model takes in one word."""
    bert = read_bert(folder)
    odd = ["", " \n", "\u200b\u200d", "\x00\x07", "\U0001f642" * 30, "http://" + "a.b." * 3000, "字" * 2000]
    odd += ["[PAD][CLS][SEP][MASK]", "<s></s><pad>"]
    rows = bert.rows(odd)
    assert max(map(len, rows)) == bert.longest
    vectors = own._Kernels(bert).vectors(rows)
    assert (vectors * bert.vectors(rows)).sum(axis=1).min() > 0.999


@pytest.mark.model
def test_a_form_that_loses_too_much_gives_way_to_a_better_one(folder, monkeypatch):
    bert = read_bert(folder)
    monkeypatch.setattr(own, "_CLOSE", 0.99999)
    exact = bert.vectors(bert.rows(TEXTS))
    close = (own._Kernels(bert).vectors(bert.rows(TEXTS)) * exact).sum(axis=1)
    assert close.min() > 0.99999
    monkeypatch.setattr(own, "_CLOSE", 1.1)
    with pytest.raises(ModelError, match="other vectors than numpy"):
        own._Kernels(bert)


@pytest.mark.model
def test_what_the_kernels_do_not_take_goes_through_sentence_transformers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_FEW_TOKENS", 10)
    monkeypatch.setattr(own, "_LOADING", 0)
    embedder = open_folder(made_of(folder, tmp_path), device="cpu")  # its heads have 8 numbers
    vectors = embedder.embed(TEXTS, kind="passage")
    assert isinstance(embedder._whole, SentenceTransformerEmbedder)
    bert = read_bert(tmp_path / "made")
    np.testing.assert_allclose(vectors, bert.vectors(bert.rows(TEXTS)), atol=1e-6)


@pytest.mark.model
def test_kernels_are_loaded_when_numpy_has_worked_as_long_as_that_takes(folder, monkeypatch):
    embedder = open_folder(folder, device="cpu")
    tokens = sum(map(len, embedder._bert.rows(TEXTS)))
    monkeypatch.setattr(own, "_FEW_TOKENS", tokens - 1)
    matrices = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    monkeypatch.setattr(own, "_LOADING", 2 * tokens * matrices)
    for _ in range(2):
        embedder.embed(TEXTS[:-1], kind="passage")  # few tokens are not counted
        embedder.embed(TEXTS, kind="passage")
        assert embedder._whole is None
    embedder.embed(TEXTS, kind="passage")
    assert embedder._whole is not None
    embedder.close()


def made_of(folder, to, *, pooling="mean", last=(), change=()):
    """A tiny BERT with random weights as a sentence-transformers folder; `change` are settings of its config."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(**{**sizes, "initializer_range": 0.4, **dict(change)})
    BertModel(config).to(config.dtype).save_pretrained(to / "plain")
    AutoTokenizer.from_pretrained(folder).save_pretrained(to / "plain")
    layers = [Transformer(str(to / "plain"), max_seq_length=40), Pooling(32, pooling_mode=pooling)]
    layers += [Normalize()] if last else []
    SentenceTransformer(modules=layers, device="cpu").save(str(to / "made"))
    return to / "made"


@pytest.mark.model
@pytest.mark.parametrize(
    ("how", "in_numpy"),
    [
        ({}, True),
        ({"pooling": "cls", "last": True}, True),
        ({"change": [("layer_norm_eps", 1e-3)]}, True),
        ({"pooling": "max"}, False),
        ({"change": [("hidden_act", "relu")]}, False),
        ({"change": [("dtype", "float16")]}, False),
    ],
)
def test_other_models_of_the_kind_are_read_in_numpy_and_the_rest_is_not(folder, tmp_path, how, in_numpy):
    made = made_of(folder, tmp_path, **how)
    bert = read_bert(made)
    assert (bert is not None) == in_numpy
    if bert is not None:
        opened, whole = open_folder(made, device="cpu"), SentenceTransformerEmbedder(made, device="cpu")
        assert (opened.name, opened.width, opened.max_tokens) == (whole.name, whole.width, whole.max_tokens)
        vectors = [each.embed(TEXTS, kind="query") for each in (opened, whole)]
        np.testing.assert_allclose(*vectors, atol=1e-6)
        assert opened.count_tokens(TEXTS) == whole.count_tokens(TEXTS)
        assert np.abs(vectors[0][0] - vectors[0][2]).max() > 1e-3


def test_batches_hold_like_lengths_and_every_text_once():
    counts = [5, 300, 7, 250, 0, 6] * 50
    batches = _batches(counts, 254)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    for batch in batches:
        assert len(batch) <= 64
        assert len(batch) * (min(max(counts[i] for i in batch), 254) + 2) <= 4096
    assert len({0, 300} & {counts[i] for i in batches[0]}) == 1


@pytest.mark.parametrize(
    ("prompts", "label", "expected"),
    [
        ({}, "intfloat/multilingual-e5-small", ("query: ", "passage: ")),
        ({"query": "", "document": ""}, "sentence-transformers/all-MiniLM-L6-v2", ("", "")),
        ({"query": "Q: ", "document": "D: "}, "x/y", ("Q: ", "D: ")),
        ({"query": "Q: "}, "intfloat/e5-base", ("Q: ", "")),
        ({}, "x/code5", ("", "")),
    ],
)
def test_prompts(prompts, label, expected):
    found = prompts_of(prompts, label)
    assert (found["query"], found["passage"]) == expected
