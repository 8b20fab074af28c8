"""Rows as tokens, kept in a temporary file: what stays in memory is twenty bytes a row."""

import tempfile
import weakref
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightwright.data.template import Encoded
from weightwright.errors import Place

_IN_MEMORY = 1 << 24  # bytes of tokens; more go to disk


class Places:
    """The places of many rows, twelve bytes each."""

    def __init__(self) -> None:
        self._lines, self._rows, self._files = array("I"), array("I"), array("I")
        self._numbers: dict[Place, int] = {}  # of places without row and line
        self._known: list[Place] = []

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, place: Place) -> None:
        """Keep a place behind the others."""
        self._lines.append(place.line)
        self._rows.append(place.row)
        file = Place(place.file, column=place.column, part=place.part)
        if file not in self._numbers:
            self._numbers[file] = len(self._known)
            self._known.append(file)
        self._files.append(self._numbers[file])

    def __getitem__(self, number: int) -> Place:
        file = self._known[self._files[number]]
        return Place(file.file, self._rows[number], self._lines[number], file.column, file.part)


class RowStore:
    """Encoded rows by their number, each read from the file when it is asked for.

    A token takes four bytes: its id where it carries loss, else the id's complement, which is negative. The file has
    no name and is gone with the store; it lies in `folder`, or where temporary files do.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])  # tokens of all rows up to each
        self._places = Places()

    def __len__(self) -> int:
        return len(self._places)

    def append(self, row: Encoded) -> None:
        """Keep a row behind the others."""
        ids = np.asarray(row.token_ids, dtype=np.int32)
        self._file.seek(4 * self._ends[-1])
        self._file.write(np.where(row.labelled, ids, ~ids).tobytes())
        self._ends.append(self._ends[-1] + len(ids))
        self._places.append(row.place)

    def __getitem__(self, number: int) -> Encoded:
        start, end = self._ends[number], self._ends[number + 1]
        self._file.seek(4 * start)
        kept = np.frombuffer(self._file.read(4 * (end - start)), dtype=np.int32)
        labelled = kept >= 0
        ids = np.where(labelled, kept, ~kept)
        return Encoded(tuple(ids.tolist()), tuple(labelled.tolist()), self._places[number])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row [rows]."""
        ends = np.array(self._ends, dtype=np.int64)
        return ends[1:] - ends[:-1]
