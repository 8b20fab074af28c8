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


class RowStore:
    """Encoded rows by their number, each read from the file when it is asked for.

    A token takes four bytes: its id where it carries loss, else the id's complement, which is negative. The file has
    no name and is gone with the store; it lies in `folder`, or where temporary files do.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])  # tokens of all rows up to each
        self._lines, self._rows, self._files = array("I"), array("I"), array("I")
        self._known: dict[Place, int] = {}  # places without row and line
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, row: Encoded) -> None:
        """Keep a row behind the others."""
        ids = np.asarray(row.token_ids, dtype=np.int32)
        self._file.seek(4 * self._ends[-1])
        self._file.write(np.where(row.labelled, ids, ~ids).tobytes())
        self._ends.append(self._ends[-1] + len(ids))
        self._lines.append(row.place.line)
        self._rows.append(row.place.row)
        file = Place(row.place.file, column=row.place.column, part=row.place.part)
        if file not in self._known:
            self._known[file] = len(self._places)
            self._places.append(file)
        self._files.append(self._known[file])

    def __getitem__(self, number: int) -> Encoded:
        start, end = self._ends[number], self._ends[number + 1]
        self._file.seek(4 * start)
        kept = np.frombuffer(self._file.read(4 * (end - start)), dtype=np.int32)
        labelled = kept >= 0
        ids = np.where(labelled, kept, ~kept)
        return Encoded(tuple(ids.tolist()), tuple(labelled.tolist()), self._place(number))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row [rows]."""
        ends = np.array(self._ends, dtype=np.int64)
        return ends[1:] - ends[:-1]

    def _place(self, number: int) -> Place:
        file = self._places[self._files[number]]
        return Place(file.file, self._rows[number], self._lines[number], file.column, file.part)
