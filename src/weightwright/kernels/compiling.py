"""Say that kernels are being compiled: only where numba works on code, not where all of it is found on disk."""

import functools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from numba.core import event

progress = logging.getLogger("weightwright.progress")  # the command line shows it


@contextmanager
def told(folder: str) -> Iterator[None]:
    """Tell once in a process that kernels are compiled and kept in `folder`, and at the end how long it took."""
    passes = _Passes(folder)
    with event.install_listener("numba:run_pass", passes):
        yield
    if passes.began_s is not None:
        progress.info("compiling kernels: %.0f s", time.monotonic() - passes.began_s)


class _Passes(event.Listener):  # type: ignore[misc]
    """Hears of each pass over a function's code."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.began_s: float | None = None

    def on_start(self, _: object) -> None:
        if self.began_s is None:
            self.began_s = time.monotonic()
            _begin(self._folder)

    def on_end(self, _: object) -> None:
        """Nothing to tell: a function has many passes."""


@functools.cache
def _begin(folder: str) -> None:
    progress.info("compiling kernels for this CPU (once; kept in %s)", folder)
