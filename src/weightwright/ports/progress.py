"""How long work says how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Told how far long work has come; `total` is None where the end is not known."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Say that `done` of `total` are done."""
        ...


def silent(done: int, total: int | None, note: str = "") -> None:
    """The Progress that shows nothing."""
