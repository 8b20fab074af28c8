"""Shared fixtures: where the shared data is, tiny models, and no network."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

REPOSITORY = Path(__file__).resolve().parent.parent
# kernels are compiled once for all tests, whose WEIGHTWRIGHT_HOME differs
os.environ.setdefault("NUMBA_CACHE_DIR", str(REPOSITORY / ".pytest_cache" / "kernels"))
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # one of several processes: its share of the cores, and a cache that no other writes into
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ["NUMBA_CACHE_DIR"] = str(Path(os.environ["NUMBA_CACHE_DIR"]) / WORKER)
SHARED = REPOSITORY.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, visibly, the tests whose real data is not here."""
    if not SHARED.is_dir():
        mark = pytest.mark.skip(reason="the folder of shared data is not beside the repository")
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(mark)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared real data."""
    return SHARED


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded two-layer Llama with a byte tokenizer."""
    from weightwright.testing.models import tiny_llama

    return tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a WEIGHTWRIGHT_HOME of its own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WEIGHTWRIGHT_HOME", str(home))
    return home
