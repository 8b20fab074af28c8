"""Run a kernel on the OpenMP threads that torch already has, so that two pools never fight for the cores."""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

_CURRENT = threading.local()
_NICE = 5  # of work aside: about a third of a core that a model wants, too


@functools.cache
def _openmp() -> Any:
    """Torch's OpenMP library with GNU's entry points, or None."""
    import torch

    if not sys.platform.startswith("linux"):
        return None
    folder = Path(torch.__file__).parent  # others in the process bring libraries of that name too
    for path in sorted(
        [*(folder / "lib").glob("lib*omp*.so*"), *folder.parent.glob("torch.libs/lib*omp*.so*")]
    ):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "GOMP_parallel"):
            library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            library.GOMP_parallel.restype = None
            return library
    return None


@functools.cache
def available() -> bool:
    """Whether kernels can run here: numba is installed and torch's threads are within reach."""
    if _openmp() is None:
        log.info("torch's OpenMP pool is out of reach; using torch's operators")
        return False
    try:
        import numba  # noqa: F401
    except ImportError:
        log.info("numba is not installed; using torch's operators")
        return False
    return True


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Let numba keep what is compiled in a folder named by the kernels' sources; say so where something is.

    numba itself looks only at the file that a function stands in, and at its date, which wheels do not have.
    """
    from numba import config

    from weightwright.home import cache
    from weightwright.kernels.compiling import told

    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or cache() / "kernels")
    before = config.CACHE_DIR
    config.CACHE_DIR = str(base / hashlib.sha256(sources).hexdigest()[:16])
    try:
        with told(config.CACHE_DIR):
            yield
    finally:
        config.CACHE_DIR = before


class Kernel:
    """A compiled function `void f(int64* arguments)`; each thread takes one task after the other."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled  # owns the machine code
        self.address: int = compiled.address
        self._alone: Callable[[Any], None] = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(compiled.address)
        self._parallel = _openmp().GOMP_parallel

    def __call__(self, threads: int, *arguments: int) -> None:
        """Run on `threads` threads; floats are passed as `bits(x)`."""
        packed = (ctypes.c_int64 * (2 + len(arguments)))(0, 0, *arguments)  # counters of threads and tasks
        recording = getattr(_CURRENT, "recording", None)
        if recording is not None:
            recording.add(self, packed, threads)
        if threads == 1:
            self._alone(packed)
        else:
            self._parallel(self.address, packed, threads, 0)


class Recorder(Protocol):
    """Notes the kernels that its thread runs."""

    def add(self, kernel: Kernel, packed: Any, threads: int) -> None:
        """Note a kernel with its arguments: counters of threads and tasks, then its own."""


def set_recording(recording: Recorder | None) -> None:
    """Have this thread's kernels noted, or no longer."""
    _CURRENT.recording = recording


def entry(name: str) -> int:
    """The address of a function of torch's OpenMP library."""
    return int(ctypes.cast(getattr(_openmp(), name), ctypes.c_void_p).value or 0)


def bits(value: float) -> int:
    """A float as the integer with the same 64 bits."""
    return ctypes.c_int64.from_buffer(ctypes.c_double(value)).value


def threads() -> int:
    """Threads that torch uses."""
    import torch

    return int(torch.get_num_threads())


def aside(work: Callable[[], T]) -> T:
    """Run work in a thread of its own and wait for it: one core at most, and on Linux only when others leave it free.

    Its products take no OpenMP workers, which would fight with those of the thread that runs a model.
    """

    def quietly() -> T:
        threads()  # torch sets this thread's number when it is first asked
        library = _openmp()
        if library is not None and hasattr(library, "omp_set_num_threads"):
            library.omp_set_num_threads(1)
        if sys.platform.startswith("linux"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="weightwright-aside") as executor:
        return executor.submit(quietly).result()


def release_threads() -> None:
    """Let the calling thread's OpenMP workers go; its next product makes new ones.

    Each thread that computes has workers of its own, and once a process has more of them than cores, GNU's library
    puts all to sleep between products, which costs a third of the engine's rate at few sequences. So who has
    computed in one thread and goes on in another, or not at all, calls this.
    """
    library = _openmp()
    if library is not None and hasattr(library, "omp_pause_resource_all"):
        library.omp_pause_resource_all(1)  # soft: what the threads share stays
