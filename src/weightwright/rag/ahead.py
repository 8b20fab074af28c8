"""The next documents are read while those before them are embedded."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

READ_AHEAD = 4  # documents; large ones take memory


def ahead(items: Iterable[T], most: int) -> Iterator[T]:
    """The items in their order, made in another thread, which is at most `most` of them ahead.

    What is raised there is raised here. It stops when this iterator is closed, after the item that it is making.
    """
    with closing(_Ahead(items, most)) as made:
        yield from made


class _Ahead(Iterator[T]):
    def __init__(self, items: Iterable[T], most: int) -> None:
        self._ready: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()
        self._room = threading.Semaphore(most)
        self._closed = threading.Event()
        threading.Thread(target=self._make, args=(items,), name="weightwright-ahead", daemon=True).start()

    def __next__(self) -> T:
        made = self._ready.get()
        if isinstance(made, BaseException):
            raise made
        self._room.release()
        return made[0]

    def close(self) -> None:
        self._closed.set()
        self._room.release()

    def _make(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._room.acquire()
                if self._closed.is_set():
                    return
                self._ready.put((item,))
        except BaseException as error:  # noqa: BLE001  (raised where the items are taken)
            self._ready.put(error)
        else:
            self._ready.put(StopIteration())
