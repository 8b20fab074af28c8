"""A local hub for the real client: the client's constants point at it for the length of a test."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


def _module(name: str) -> ModuleType:
    """A helper module beside this file (importlib mode has no package to import it from)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


hub_server = _module("hub_server")
modelscope_server = _module("modelscope_server")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator["hub_server.Hub"]:
    from huggingface_hub import close_session, constants

    with hub_server.RunningHub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        for proxy in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
            monkeypatch.delenv(proxy, raising=False)
        yield running
        close_session()


@pytest.fixture
def model_files(tiny_model: Path) -> dict[str, bytes]:
    """The tiny model as a hub would list it, with a card and things that must not be fetched."""
    files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    return files | {
        "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n",
        "pytorch_model.bin": b"pickle" * 1000,
        "consolidated.safetensors": b"twice" * 1000,
        "onnx/model.onnx": b"onnx" * 1000,
        "tf_model.h5": b"h5" * 1000,
    }
