"""Texts that say nearly the same: exact Jaccard similarity of word triples, found through their rarest triples.

Prefix filtering (Chaudhuri, Ganti, Kaushik, ICDE 2006; Bayardo, Ma, Srikant, WWW 2007): two sets of sizes a and b
with a similarity of at least t share an element among the `a - ceil(t a) + 1` rarest of the one and the like of the
other. So an index over those finds every pair, and nothing is missed by chance as with MinHash. Triples are numbers
of eight bytes in a file; of those that stand in one text only, which are most, just the number is held in memory.
"""

import re
import tempfile
import weakref
import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

SIMILAR = 0.8
_TOGETHER = 3
_IN_MEMORY = 1 << 26  # bytes of triples; more go to disk
_MOST_SLOTS = 28  # bits of a slot's number: two bytes each
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")

# odd numbers that mix the hashes of three words into one (SplitMix64's and its neighbours')
_MIX = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Match:
    """Text number `row` is like text number `like`; `similarity` is that of their word triples (0 to 1)."""

    row: int
    like: int
    similarity: float


def triples(text: str) -> NDArray[np.uint64]:
    """Hashes of the runs of three words of a text, ascending, each once; each Chinese character is a word.

    Upper and lower case are alike. A shorter text is one run; a text without words has none.
    """
    words = [zlib.crc32(word.encode()) for word in _WORD.findall(text.casefold())]
    if not words:
        return np.empty(0, dtype=np.uint64)
    padded = np.array(words + [1 << 32] * (_TOGETHER - len(words)), dtype=np.uint64)  # no word has that hash
    runs = np.lib.stride_tricks.sliding_window_view(padded, _TOGETHER)
    mixed = runs * _MIX
    return np.unique((mixed ^ (mixed >> np.uint64(29))).sum(axis=1, dtype=np.uint64))


class Triples:
    """The triples of texts, one text after another, in a temporary file; four bytes a text stay in memory."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self.counts = array("I")
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self.counts)

    def append(self, text: str) -> None:
        """Keep a text's triples behind those of the others."""
        found = triples(text)
        self._file.write(found.tobytes())
        self.counts.append(len(found))

    def __iter__(self) -> Iterator[NDArray[np.uint64]]:
        self._file.seek(0)
        for count in self.counts:
            yield np.frombuffer(self._file.read(8 * count), dtype=np.uint64)
        self._file.seek(0, 2)


def near_duplicates(texts: Triples, threshold: float = SIMILAR) -> list[Match]:
    """For each text an earlier one that it is like, if there is one: chains count once, not every pair of them."""
    index = _Index(threshold)
    matches = []
    for number, row in enumerate(_by_rarity(texts)):
        match = index.like(row)
        if match is not None:
            matches.append(Match(number, *match))
        index.add(number, row)
    return matches


def near_across(texts: Triples, others: Triples, threshold: float = SIMILAR) -> list[Match]:
    """For each of `texts` one of `others` that it is like, if there is one."""
    rows = _by_rarity(texts, others)
    index = _Index(threshold)
    for number, row in enumerate(rows[len(texts) :]):
        index.add(number, row)
    matches = ((number, index.like(row)) for number, row in enumerate(rows[: len(texts)]))
    return [Match(number, *match) for number, match in matches if match is not None]


@dataclass(frozen=True, slots=True)
class _Row:
    """A text's triples that others may have too, as ascending numbers, rarer ones smaller; how many are its own."""

    shared: NDArray[np.int32]
    own: int

    def __len__(self) -> int:
        return self.own + len(self.shared)


def _by_rarity(*files: Triples) -> list[_Row]:
    """The texts of all files, the files one after another."""
    shared = _shared(files)
    found = [row[shared(row)] for file in files for row in file]
    counts = [count for file in files for count in file.counts]
    ends = [0, *np.cumsum([len(one) for one in found], dtype=np.int64)]
    _, which, times = np.unique(
        np.concatenate([*found, np.empty(0, np.uint64)]), return_inverse=True, return_counts=True
    )
    del found
    number = np.empty(len(times), dtype=np.int32)
    number[np.argsort(times, kind="stable")] = np.arange(len(times), dtype=np.int32)
    numbered = number[which]
    rows = [numbered[start:end] for start, end in pairwise(ends)]
    for row in rows:
        row.sort()
    return [_Row(row, count - len(row)) for row, count in zip(rows, counts, strict=True)]


def _shared(files: Sequence[Triples]) -> Callable[[NDArray[np.uint64]], NDArray[np.bool_]]:
    """What tells which triples several texts may have: all that do, and a few that share a slot with another."""
    total = sum(sum(file.counts) for file in files)
    slots = 1 << min(_MOST_SLOTS, (4 * total).bit_length())
    mask = np.uint64(slots - 1)
    once, again = np.zeros(slots, dtype=np.bool_), np.zeros(slots, dtype=np.bool_)
    for file in files:
        for row in file:
            at = (row & mask).astype(np.intp)
            again[at[once[at]]] = True
            once[at] = True
    return lambda row: again[(row & mask).astype(np.intp)]


class _Index:
    """Rows by the rarest of their numbers."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._holding: defaultdict[int, list[int]] = defaultdict(list)
        self._rows: dict[int, _Row] = {}

    def add(self, name: int, row: _Row) -> None:
        rarest = self._rarest(row)
        if rarest:
            self._rows[name] = row
        for number in rarest:
            self._holding[number].append(name)

    def like(self, row: _Row) -> tuple[int, float] | None:
        """The first row found that is as similar as asked for, and how similar."""
        seen: set[int] = set()
        for number in self._rarest(row):
            for name in self._holding.get(number, ()):
                other = self._rows[name]
                sizes = len(row), len(other)
                if name in seen or min(sizes) < self._threshold * max(sizes):
                    continue
                seen.add(name)
                shared = len(np.intersect1d(row.shared, other.shared, assume_unique=True))
                similarity = shared / (sum(sizes) - shared)
                if similarity >= self._threshold:
                    return name, similarity
        return None

    def _rarest(self, row: _Row) -> list[int]:
        """Those of the rarest numbers that others may have: the row's own ones come before them."""
        count = len(row) - ceil(self._threshold * len(row) - 1e-9) + 1 if len(row) else 0
        found: list[int] = row.shared[: max(0, count - row.own)].tolist()
        return found
