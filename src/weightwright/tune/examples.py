"""The examples of a run, made from a store of rows when they are asked for."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from weightwright.data.rowstore import RowStore
from weightwright.data.sample import Prompt
from weightwright.data.template import Encoded
from weightwright.tune.batch import Example

_GOOD, _PARTNER = 1, 2


class Examples(Sequence[Example]):
    """Examples by number; each has as many rows as the others, and may have a partner, a judgement or a prompt.

    None is held: memory has some forty bytes of each and its prompt, `folder` a temporary file with their tokens (see
    `RowStore`).
    """

    def __init__(self, examples: Iterable[Example] = (), folder: Path | None = None) -> None:
        self._store = RowStore(folder)
        self._starts, self._flags = array("q"), array("B")
        self._together = 1
        self._prompts: list[Prompt] = []
        self._references: NDArray[np.float64] | None = None  # of every row of the store
        self.labelled_tokens = 0  # of their own rows
        for example in examples:
            self._append(example)

    def _append(self, example: Example) -> None:
        self._together = len(example.rows)
        self._starts.append(len(self._store))
        self._prompts += [] if example.prompt is None else [example.prompt]
        self.labelled_tokens += sum(row.labelled_tokens for row in example.rows)
        self._flags.append(_GOOD * example.good + _PARTNER * (example.partner is not None))
        for row in (*example.rows, *(example.partner.rows if example.partner else ())):
            self._store.append(row)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, number: int) -> Example: ...
    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...
    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        start, flags = self._starts[number], self._flags[number]
        rows = self.rows(start, start + self._together)
        partner = None
        if flags & _PARTNER:
            after = start + self._together
            partner = Example(self.rows(after, after + 1), reference=self._reference(after, after + 1))
        reference = self._reference(start, start + self._together)
        prompt = self._prompts[number] if self._prompts else None
        return Example(rows, bool(flags & _GOOD), reference, partner, prompt)

    def rows(self, start: int, end: int) -> tuple[Encoded, ...]:
        """Rows of all examples and their partners, in their order, by number."""
        return tuple(self._store[n] for n in range(start, min(end, len(self._store))))

    def spans(self) -> Iterator[tuple[int, int]]:
        """The first of each example's `rows`, its partner's among them, and the one behind its last."""
        return pairwise([*self._starts, len(self._store)])

    @property
    def row_count(self) -> int:
        """How many rows `rows` knows."""
        return len(self._store)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of their own rows [examples, rows of each]."""
        starts = np.array(self._starts, dtype=np.int64)
        lengths: NDArray[np.int64] = self._store.lengths[starts[:, None] + np.arange(self._together)]
        return lengths

    def with_references(self, sums: NDArray[np.float64]) -> "Examples":
        """The same examples with a number for each of `rows`: its log-probability under the base model."""
        other = copy(self)
        other._references = sums
        return other

    def _reference(self, start: int, end: int) -> tuple[float, ...]:
        return () if self._references is None else tuple(self._references[start:end].tolist())
