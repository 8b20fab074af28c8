"""Pulling with ModelScope's real client from a server that answers as ModelScope does."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from weightwright.errors import DownloadError
from weightwright.hub import store
from weightwright.hub.pull import pull
from weightwright.hub.store import list_models, locate, remove

pytest.importorskip("modelscope_hub")
TINY = "acme/tiny-llama"


@pytest.fixture
def modelscope(
    model_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    from modelscope_hub import config

    with sys.modules["modelscope_server"].RunningModelScope({TINY: model_files}) as running:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "ms"))
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms-cache"))
        monkeypatch.setattr(config, "_default_config", None, raising=False)
        yield running


def test_pull(modelscope: Any, own_home: Path) -> None:
    told: list[int] = []
    folder = pull(TINY, source="modelscope", progress=lambda done, total, note="": told.append(done))
    assert folder == own_home / "models" / "modelscope" / "acme" / "tiny-llama"
    assert (folder / "model.safetensors").read_bytes() == modelscope.repos[TINY]["model.safetensors"]
    assert not list(folder.glob("*.bin"))
    assert told[-1] == max(told)
    (stored,) = list_models()
    assert (stored.hub_id, stored.source) == (TINY, "modelscope")
    modelscope.requests.clear()
    assert pull(TINY, source="modelscope") == locate(TINY) == folder
    assert modelscope.requests == []
    assert remove(TINY) > 0


def test_the_hub_that_was_named_is_the_one_returned(modelscope: Any, hub: Any, model_files: Any) -> None:
    hub.repos[TINY] = sys.modules["hub_server"].Repo(model_files)
    assert pull(TINY).parts[-3] == "huggingface"
    assert pull(TINY, source="modelscope", update=True).parts[-3] == "modelscope"


def test_a_download_that_was_cut_off_goes_on(modelscope: Any, own_home: Path) -> None:
    import hashlib

    content = modelscope.repos[TINY]["model.safetensors"]
    digest = hashlib.sha256(content).hexdigest()
    incoming = store.folder_of(TINY, "modelscope") / ".incoming" / f"{digest}.modelscope"
    incoming.mkdir(parents=True)
    (incoming / "model.safetensors.incomplete").write_bytes(content[:5000])
    folder = pull(TINY, source="modelscope")
    ranges = [range_ for path, range_ in modelscope.requests if "model.safetensors" in path]
    assert "bytes=5000-" in ranges
    assert (folder / "model.safetensors").read_bytes() == content


def test_corrupt(modelscope: Any, own_home: Path) -> None:
    modelscope.corrupt.add("model.safetensors")
    with pytest.raises(DownloadError, match="arrived damaged"):
        pull(TINY, source="modelscope")
    assert locate(TINY) is None


def test_unknown_repository(modelscope: Any) -> None:
    with pytest.raises(DownloadError, match=f"{modelscope.url} has no acme/nothing; check the spelling"):
        pull("acme/nothing", source="modelscope")


def test_no_network(modelscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between its tries
    with pytest.raises(
        DownloadError, match=r"cannot reach .*:9 for acme/tiny-llama; check the network"
    ) as caught:
        pull(TINY, source="modelscope")
    assert "\n" not in str(caught.value)
