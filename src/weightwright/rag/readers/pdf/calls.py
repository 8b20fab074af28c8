"""PDFium's functions that are called for each character, with plain addresses.

A long document has millions of characters, and a call from Python takes longer than what it does. So the loops are
compiled once a process has read so many that it pays; until then the same functions run as they are.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORTH_COMPILING = 200_000  # characters: asking for them takes as long as compiling does

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Asker:
    """Asks PDFium for all characters of a page, or for all text objects, at once."""

    def __init__(self) -> None:
        self._asked = 0
        self._places, self._objects = _loops()

    def places(self, text_page: Any, n: int) -> tuple[Floats, Floats, Ints]:
        """Origin [n, 2], box [n, 4] (left, bottom, right, top) and address of the text object [n], 0 for none."""
        if self._asked < _WORTH_COMPILING <= self._asked + n:
            self._compile()
        self._asked += n
        origin, box, thing = np.zeros((n, 2)), np.zeros((n, 4), np.float32), np.zeros(n, np.int64)
        self._places(address(text_page.raw), n, origin.ctypes.data, box.ctypes.data, thing)
        return origin, box[:, [0, 3, 2, 1]].astype(np.float64), thing  # FS_RECTF: left, top, right, bottom

    def objects(self, text_page: Any, first: Ints, thing: Ints) -> tuple[Floats, Ints]:
        """Matrix a b c d and font's size [m, 5] and address of the font [m] of the objects that begin at `first`."""
        matrix, size = np.zeros((len(first), 6), np.float32), np.zeros(len(first))
        font = np.zeros(len(first), np.int64)
        self._objects(address(text_page.raw), first, thing, matrix.ctypes.data, size, font)
        return np.column_stack([matrix[:, :4].astype(np.float64), size]), font

    def _compile(self) -> None:
        import numba

        self._places, self._objects = numba.njit(self._places), numba.njit(self._objects)


@cache
def asker() -> Asker:
    """One for this process."""
    return Asker()


@cache
def function(name: str) -> Any:
    """One of PDFium's functions that take a page and the number of a character and return an int."""
    return _plain(name, ctypes.c_int, ctypes.c_size_t, ctypes.c_int)


def address(pointer: Any) -> int:
    """Where a pointer of PDFium's points, 0 for nowhere."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _plain(name: str, result: Any, *arguments: Any) -> Any:
    import pypdfium2.raw as pdfium

    return ctypes.CFUNCTYPE(result, *arguments)(address(getattr(pdfium, name)))


def _loops() -> tuple[Callable[..., None], Callable[..., None]]:
    """The loops over characters and over objects; in a form that numba compiles as it is."""
    where, number = ctypes.c_size_t, ctypes.c_int
    get_origin = _plain("FPDFText_GetCharOrigin", number, where, number, where, where)
    get_box = _plain("FPDFText_GetLooseCharBox", number, where, number, where)
    get_thing = _plain("FPDFText_GetTextObject", where, where, number)
    get_matrix = _plain("FPDFText_GetMatrix", number, where, number, where)
    get_size = _plain("FPDFText_GetFontSize", ctypes.c_double, where, number)
    get_font = _plain("FPDFTextObj_GetFont", where, where)

    def places(page: int, n: int, origin: int, box: int, thing: Any) -> None:
        for i in range(n):
            get_origin(page, i, origin + 16 * i, origin + 16 * i + 8)
            get_box(page, i, box + 16 * i)
            thing[i] = get_thing(page, i)

    def objects(page: int, first: Any, thing: Any, matrix: int, size: Any, font: Any) -> None:
        for k in range(len(first)):
            i = int(first[k])
            get_matrix(page, i, matrix + 24 * k)
            size[k] = get_size(page, i)
            if thing[i]:
                font[k] = get_font(int(thing[i]))

    return places, objects
