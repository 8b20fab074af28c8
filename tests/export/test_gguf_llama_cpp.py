"""Our GGUF files in llama.cpp itself: the same tokens of a text, the same first 64 greedy tokens.

Needs the package xllamacpp (llama.cpp built for Python, no compiler): `pip install xllamacpp`; skipped without it.
"""

import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.weights import load

from .gguf_originals import BYTE_LEVEL, SENTENCEPIECE, texts
from .test_gguf_export import MODELS, model_folder
from .test_gguf_tokenizers import exported

xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp (llama.cpp) is not installed")
pytestmark = pytest.mark.slow
Ask = Callable[[str, dict[str, Any]], Any]

TOKENS = 64
# llama.cpp computes GELU from a table of f16 numbers
ERROR = {"gemma2": 4e-3, "gemma3": 4e-3}
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "yarn, attention factor": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "attention_factor": 1.3,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


def llama_cpp(file: Path) -> Ask:
    """llama.cpp with a GGUF file, asked over its own HTTP server on this machine; f32 cache, one thread."""
    params = xllamacpp.CommonParams()
    params.model.path, params.port, params.n_ctx, params.n_parallel = str(file), 0, 256, 1
    params.warmup = params.fit_params = False
    params.verbosity = params.n_gpu_layers = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(
        os.environ.get("OMP_NUM_THREADS", "1")
    )
    server = xllamacpp.Server(params)

    def ask(path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    return ask


def assert_greedy(ask: Ask, model: Any, ids: list[int], error: float, ends: tuple[int, ...]) -> int:
    """That llama.cpp's 64 tokens are this model's; how many were near ties, where numerical error may decide.

    At each place its token must be ours, or as good within twice the error (relative to the largest logit). The
    tokens that end a text are left out on both sides, so that there are 64.
    """
    found = ask(
        "/completion",
        {"prompt": ids, "n_predict": TOKENS, "temperature": 0, "ignore_eos": True, "return_tokens": True},
    )["tokens"]
    assert len(found) == TOKENS
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids + found[:-1]])).logits[0, len(ids) - 1 :].float()
    logits[:, list(ends)] = -torch.inf
    margins = logits.max(-1).values - logits[torch.arange(TOKENS), found]
    limits = 2 * error * logits.where(logits.isfinite(), 0).abs().max(-1).values
    assert (margins <= limits).all(), (margins / limits).tolist()
    return int((margins > 0).sum())


def checked(folder: Path, file: Path, error: float) -> None:
    ask = llama_cpp(file)
    source = load.load(str(folder), precision="f32", device="cpu")
    for text in ("The cat sat on the mat, and it sat. 1234 cats don't!", "set 12 34\n\nÜnïcödé 猫"):
        ids = source.tokenizer(text)["input_ids"]
        assert ask("/tokenize", {"content": text, "add_special": True})["tokens"] == ids
        assert assert_greedy(ask, source.model, ids, error, load.load(str(file)).end_ids) <= 2


@pytest.mark.parametrize("kind", MODELS)
def test_the_first_greedy_tokens_are_the_same(tmp_path: Path, kind: str) -> None:
    folder = model_folder(kind, tmp_path / "model")
    write_gguf(whole(str(folder)), tmp_path / "model.gguf", "f32")
    checked(folder, tmp_path / "model.gguf", ERROR.get(kind, 1e-4))


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("kind", ["llama, byte-level", "qwen2", "qwen3", "mistral"])
def test_rotary_scaling_is_the_same(tmp_path: Path, kind: str, rope: str) -> None:
    if rope == "llama3" and kind.startswith("qwen"):
        pytest.skip("llama.cpp has no such scaling for it: refused by the export")
    folder = model_folder(kind, tmp_path / "model", rope_parameters={"rope_theta": 1e4, **ROPES[rope]})
    write_gguf(whole(str(folder)), tmp_path / "model.gguf", "f32")
    checked(folder, tmp_path / "model.gguf", 1e-4)


def test_longrope_is_the_same_beyond_the_original_context(tmp_path: Path) -> None:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "original_max_position_embeddings": 16,
        "long_factor": [1.0 + i / 4 for i in range(8)],
        "short_factor": [1.0 + i / 16 for i in range(8)],
    }
    folder = model_folder(
        "phi3", tmp_path / "model", rope_parameters=rope, original_max_position_embeddings=16
    )
    write_gguf(whole(str(folder)), tmp_path / "model.gguf", "f32")
    checked(folder, tmp_path / "model.gguf", 1e-4)


@pytest.mark.model
def test_smollm2_says_the_same(tmp_path: Path) -> None:
    model = whole("smollm2-135m")
    write_gguf(model, tmp_path / "model.gguf", "f32")
    ask, found = llama_cpp(tmp_path / "model.gguf"), load.load(str(tmp_path / "model.gguf"), precision="f32")
    for text in ("Once upon a time", "def fibonacci(n):", "The three laws of thermodynamics are"):
        ids = found.tokenizer(text)["input_ids"]
        assert ask("/tokenize", {"content": text, "add_special": True})["tokens"] == ids
        assert assert_greedy(ask, found.model, ids, 1e-4, found.end_ids) <= 1


# what llama.cpp makes otherwise: it composes no letters, its o200k has no combining marks in words, and it puts
# sentencepiece's space before each text
OTHERWISE = {
    "qwen2": "e\u0301",
    "olmo": "e\u0301",
    "command-r": "e\u0301",
    "gpt-4o": "\u0303",
    "tekken": "\u0303",
    "mistral, a space before the first word only": " ",
}


@pytest.mark.parametrize("kind", [*BYTE_LEVEL, *SENTENCEPIECE])
def test_llama_cpp_cuts_texts_alike(tmp_path: Path, kind: str) -> None:
    tokenizer, file = exported(kind, tmp_path)
    ask = llama_cpp(file)
    for text in texts(1000):
        if kind in OTHERWISE and (
            OTHERWISE[kind] in text or (OTHERWISE[kind] == "e\u0301" and _composes(text))
        ):
            continue
        assert (
            ask("/tokenize", {"content": text, "add_special": True})["tokens"] == tokenizer(text)["input_ids"]
        ), text


def _composes(text: str) -> bool:
    import unicodedata

    return unicodedata.normalize("NFC", text) != text
