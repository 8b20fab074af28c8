"""Texts that say nearly the same: exact Jaccard similarity of word triples, found through their rarest triples.

Prefix filtering (Chaudhuri, Ganti, Kaushik, ICDE 2006; Bayardo, Ma, Srikant, WWW 2007): two sets of sizes a and b
with a similarity of at least t share an element among the `a - ceil(t a) + 1` rarest of the one and the like of the
other. So an index over those finds every pair, and nothing is missed by chance as with MinHash. Triples are held as
numbers of eight bytes, and those that stand in one text only, which are most, are in no index.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil

import numpy as np
from numpy.typing import NDArray

SIMILAR = 0.8
_TOGETHER = 3
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


def near_duplicates(texts: Sequence[str], threshold: float = SIMILAR) -> list[Match]:
    """For each text an earlier one that it is like, if there is one: chains count once, not every pair of them."""
    rows, shared = _by_rarity(texts)
    index = _Index(threshold, shared)
    matches = []
    for number, row in enumerate(rows):
        match = index.like(row)
        if match is not None:
            matches.append(Match(number, *match))
        index.add(number, row)
    return matches


def near_across(texts: Sequence[str], others: Sequence[str], threshold: float = SIMILAR) -> list[Match]:
    """For each of `texts` one of `others` that it is like, if there is one."""
    rows, shared = _by_rarity(chain(texts, others))
    index = _Index(threshold, shared)
    for number, row in enumerate(rows[len(texts) :]):
        index.add(number, row)
    matches = ((number, index.like(row)) for number, row in enumerate(rows[: len(texts)]))
    return [Match(number, *match) for number, match in matches if match is not None]


def _by_rarity(texts: Iterable[str]) -> tuple[list[NDArray[np.int32]], int]:
    """The triples of each text as ascending numbers, rarer ones smaller; the first number that several texts have."""
    sets = [triples(text) for text in texts]
    ends = np.cumsum([len(one) for one in sets])
    _, which, counts = np.unique(
        np.concatenate([*sets, np.empty(0, np.uint64)]), return_inverse=True, return_counts=True
    )
    del sets
    number = np.empty(len(counts), dtype=np.int32)
    number[np.argsort(counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    rows = np.split(number[which], ends[:-1])
    for row in rows:
        row.sort()
    return rows, int((counts == 1).sum())


class _Index:
    """Rows of numbers by their rarest ones, but for numbers below `shared`, which no two rows have."""

    def __init__(self, threshold: float, shared: int) -> None:
        self._threshold, self._shared = threshold, shared
        self._holding: defaultdict[int, list[int]] = defaultdict(list)
        self._rows: dict[int, NDArray[np.int32]] = {}

    def add(self, name: int, row: NDArray[np.int32]) -> None:
        self._rows[name] = row
        for number in self._rarest(row):
            self._holding[number].append(name)

    def like(self, row: NDArray[np.int32]) -> tuple[int, float] | None:
        """The first row found that is as similar as asked for, and how similar."""
        seen: set[int] = set()
        for number in self._rarest(row):
            for name in self._holding.get(number, ()):
                other = self._rows[name]
                sizes = len(row), len(other)
                if name in seen or min(sizes) < self._threshold * max(sizes):
                    continue
                seen.add(name)
                shared = len(np.intersect1d(row, other, assume_unique=True))
                similarity = shared / (sum(sizes) - shared)
                if similarity >= self._threshold:
                    return name, similarity
        return None

    def _rarest(self, row: NDArray[np.int32]) -> list[int]:
        rarest = row[: len(row) - ceil(self._threshold * len(row) - 1e-9) + 1] if len(row) else row
        found: list[int] = rarest[rarest >= self._shared].tolist()
        return found
