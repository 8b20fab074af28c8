"""Shared fixtures: where the shared data is, tiny models, and no network."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import weightwright  # noqa: F401 - before torch: WEIGHTWRIGHT_CPU holds it to another CPU's features

from .watch import pytest_timeout_set_timer  # noqa: F401 - a hook

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
# begun first, so that no process is left alone with them at the end
LONG = (
    "tests/docs/test_docs.py::test_what_the_page_says_runs[loop.md]",
    "tests/docs/test_docs.py::test_what_the_page_says_runs",
    "tests/tune/test_distributed.py",
)
SHARED = REPOSITORY.parent / "shared"


def pytest_report_header() -> str:
    """Which CPU the tests run as."""
    from weightwright.machine import cpu

    return f"CPU: {cpu.name()}, used: {' '.join(cpu.features())}"


class LongestFirst(LoadFileScheduling):
    """A file at a time to each process, what is in LONG test by test."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(LONG) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongestFirst | None:
    """With --dist=loadfile; --no-loadscope-reorder keeps the order of collection."""
    return LongestFirst(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes do not name a test: what gzip writes holds the time, and processes would collect different names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first; skip, visibly, the tests whose real data is not here."""
    items.sort(key=lambda item: [not item.nodeid.startswith(name) for name in LONG])
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


@pytest.fixture(scope="session")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `kept_home`."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def kept_home(own_home: Path, first_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WEIGHTWRIGHT_HOME for all who ask for it: the times of a real model's products are measured once."""
    monkeypatch.setenv("WEIGHTWRIGHT_HOME", str(first_home))
    return first_home


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program to start in the place of Python where a test is not of the start (`tests/preloaded.py`)."""
    if not sys.platform.startswith(
        "linux"
    ):  # elsewhere a process may not be forked with these libraries in it
        yield Path(sys.executable)
        return
    with tempfile.TemporaryDirectory(prefix="weightwright") as folder:  # a socket's path must be short
        forking = [str(REPOSITORY / "tests" / "preloaded.py"), f"{folder}/socket"]
        started = Path(folder) / "python"
        started.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-I", "-S", *forking])} "$@"\n')
        started.chmod(0o755)
        with subprocess.Popen([sys.executable, *forking], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "ready\n"
            yield started
            server.terminate()


@pytest.fixture
def sealable(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder, and what makes it one in which nothing can be written."""
    folder = tmp_path / "sealable"
    folder.mkdir()
    if os.name != "posix":
        pytest.skip("rights of POSIX")
    if os.geteuid() != 0:
        yield folder, lambda: folder.chmod(0o500)
        folder.chmod(0o700)
        return

    def mount(*options: str) -> int:  # root may write everywhere else
        return subprocess.run(["mount", *options, str(folder)], check=False).returncode

    if mount("-t", "tmpfs", "tmpfs"):
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder, lambda: mount("-o", "remount,ro")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def exact_int8(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The int8 kernel whose weights have 8 bits: on a busy machine the timing may prefer one of 7 bits."""
    from weightwright.kernels import int8

    monkeypatch.setattr(int8, "raced", lambda runs: dict.fromkeys(runs, 1.0))
    int8._int8_kernel.cache_clear()
    yield
    int8._int8_kernel.cache_clear()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Kernels divide their work, whatever share of the cores this process has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
