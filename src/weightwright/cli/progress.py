"""Progress on stderr: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from weightwright.ports import Progress

_LINE_EVERY_S = 5.0


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A Progress that draws on stderr for as long as the block runs."""
    if sys.stderr.isatty():
        with _rich_bar(title) as progress:
            yield progress
    else:
        yield _Lines(title)


@contextmanager
def _rich_bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(title, total=None, note="")

        def progress(done: int, total: int | None, note: str = "") -> None:
            drawn.update(task, completed=done, total=total, note=note)

        yield progress


class _Lines:
    """A Progress for logs: a line at most every few seconds, and one at the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last_s = 0.0

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        now_s = time.monotonic()
        if done != total and now_s - self._last_s < _LINE_EVERY_S:
            return
        self._last_s = now_s
        amount = f"{done}/{total}" if total is not None else str(done)
        sys.stderr.write(f"{self._title}: {amount} {note}".rstrip() + "\n")
        sys.stderr.flush()
