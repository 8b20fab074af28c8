"""Whether a range of text supports a sentence: its numbers, its names and enough of its content words.

This is a check of words, not of meaning: it catches marks on passages about other things, wrong numbers,
units and names, and numbers and names that the passage denies (`not 20 euros`). Of facts that are swapped it sees
numbers that belong to another number, clause or row (`binding`, `rows`), not two names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from weightwright.rag.analyze import is_han
from weightwright.rag.binding import Content, of_another, split, swapped
from weightwright.rag.claim import Fact, Facts, facts_of
from weightwright.rag.quantity import UNIT_UNSAID
from weightwright.rag.readable import readable
from weightwright.rag.rows import Row, rows
from weightwright.rag.said import Said
from weightwright.rag.sentences import Range, sentences

_HEADING = re.compile(r"(#{1,6})\s")


@dataclass(frozen=True, slots=True)
class Support:
    """How far a range supports a sentence. `missing` is what it must hold and does not."""

    start: int
    end: int
    held: frozenset[Fact]
    share: float
    missing: frozenset[Fact]

    def enough(self, share: float) -> bool:
        """No number or name is missing, something is there, and so are enough of the content words."""
        return not self.missing and bool(self.held) and self.share >= share


class Evidence:
    """A passage's sentences and what each says. Its headings count for what stands below them, not alone."""

    def __init__(self, text: str, heading: str = "") -> None:
        self._text = text
        self._heading = heading
        self._wholes: dict[tuple[int, int], Said] = {}

    @cached_property
    def ranges(self) -> list[Range]:
        """The sentences as ranges of the passage."""
        return sentences(self._text)

    @cached_property
    def _said(self) -> list[Said]:
        return [Said.in_(self._text[start:end]) for start, end in self.ranges]

    @cached_property
    def _levels(self) -> list[int]:
        """The level of the sentences that are headings, 0 of the others."""
        marks = [_HEADING.match(self._text, start) for start, _ in self.ranges]
        return [len(mark[1]) if mark else 0 for mark in marks]

    @cached_property
    def _above(self) -> list[Said]:
        """What the headings above each sentence say."""
        outside = Said.in_(self._heading) if self._heading else Said()
        above, stack = [], dict[int, Said]()
        for level, said in zip(self._levels, self._said, strict=True):
            if level:
                stack = {other: text for other, text in stack.items() if other < level}
                stack[level] = said
            joined = outside
            for text in stack.values():
                joined |= text
            above.append(joined)
        for n, row in enumerate(self._rows):
            if row is not None and row.head is not None:
                above[n] |= self._said[row.head]
            if row is not None and not self._said[n].names_units and not above[n].names_units:
                above[n] |= Said(units=frozenset((UNIT_UNSAID,)))
        return above

    @cached_property
    def _rows(self) -> list[Row | None]:
        return rows(self._text, self.ranges)

    @cached_property
    def _cells(self) -> list[list[Said]]:
        """What the cells of each row say."""
        return [[Said.in_(cell) for cell in row.cells] if row else [] for row in self._rows]

    def best(self, facts: Facts, share: float, most_sentences: int) -> Support | None:
        """The shortest run of sentences that supports the facts, the fullest of its length, if any does."""
        for length in range(1, most_sentences + 1):
            supports = [s for s in self._runs(facts, length) if s.enough(share)]
            if supports:
                return max(supports, key=lambda support: len(support.held))
        return None

    def fullest(self, facts: Facts, most_sentences: int) -> Support | None:
        """The run of sentences that holds most of the facts, the shortest of these, if any holds one."""
        runs = [s for length in range(1, most_sentences + 1) for s in self._runs(facts, length) if s.held]
        return max(runs, key=lambda support: len(support.held), default=None)

    def _runs(self, facts: Facts, length: int) -> list[Support]:
        firsts = range(len(self.ranges) - length + 1)
        return [
            self._support(facts, first, first + length)
            for first in firsts
            if self._is_run(first, first + length) and self._rows_fit(facts, first, first + length)
        ]

    def _is_run(self, first: int, after: int) -> bool:
        """Whether no heading parts the sentences."""
        levels = self._levels[first:after]
        return not any(level and not before for before, level in pairwise(levels))

    def _is_cut(self, first: int, after: int) -> bool:
        """Whether lines end where no sentence does, so that a number may be cut in two."""
        return any(
            self._text[self.ranges[n][1] : self.ranges[n + 1][0]] == "\n"
            and self._text[self.ranges[n][1] - 1].isalnum()
            and not (self._levels[n] or self._rows[n] or self._rows[n + 1])
            for n in range(first, after - 1)
        )

    def _whole(self, first: int, after: int) -> Said:
        """What the sentences say as one."""
        if (first, after) not in self._wholes:
            text = self._text[self.ranges[first][0] : self.ranges[after - 1][1]]
            self._wholes[first, after] = Said.in_(text)
        return self._wholes[first, after]

    def _rows_fit(self, facts: Facts, first: int, after: int) -> bool:
        """Whether the claim speaks of each of several rows: the price of one is not that of the next."""
        places = [n for n in range(first, after) if self._rows[n] is not None]
        if not places:
            return True
        named = [n for n in places if self._cells[n] and self._cells[n][0].names(facts)]
        if len(named) < len(places) and (len(places) > 1 or self._other_row(facts, places[0])):
            return False
        return len(places) > 1 or self._column_fits(facts, places[0])

    def _other_row(self, facts: Facts, place: int) -> bool:
        """Whether the claim names another row of the same table, and only that."""
        table = self._rows[place]
        return any(
            row is not None and table is not None and row.head == table.head and n not in (place, table.head)
            and cells and cells[0].names(facts)
            for n, (row, cells) in enumerate(zip(self._rows, self._cells, strict=True))
        )  # fmt: skip

    def _column_fits(self, facts: Facts, place: int) -> bool:
        """Whether the claim's numbers stand in the columns that it names, where it names one for each."""
        row = self._rows[place]
        if row is None or row.head is None or len(self._cells[row.head]) != len(self._cells[place]):
            return True
        named = [n for n, said in enumerate(self._cells[row.head]) if n and said.names(facts)]
        of_cells = frozenset(range(len(facts.numbers))) - self._said[row.head].holds(facts)
        if not named or len(of_cells) > len(named):
            return True
        inside = Said()
        for n in (0, *named):
            inside |= self._cells[place][n]
        return inside.holds(facts).issuperset(of_cells)

    def _support(self, facts: Facts, first: int, after: int) -> Support:
        inside, above = Said(), Said()
        for n in range(first, after):
            if self._levels[n] == 0:
                inside |= self._said[n]
                above |= self._above[n]
        if len(facts.numbers) and self._is_cut(first, after):
            inside |= self._whole(first, after)
        held, of_heading = inside.holds(facts), above.holds(facts)
        everything = frozenset[Fact]((*range(len(facts.numbers)), *facts.names, *facts.words))
        there = (inside | above).holds(facts)
        if not (held - of_heading) and (everything - of_heading or not held):
            there = held  # what the text says itself is nothing that the heading does not say
        elif everything <= of_heading:
            there = held
        required = frozenset[Fact]((*range(len(facts.numbers)), *facts.names))
        foreign = inside.foreign(facts) - there
        missing = required - there
        if not missing and (
            self._is_swapped(facts, first, after) or self._is_of_another(facts, first, after)
        ):
            missing = required
        needed = _TELLING if facts.numbers else 1.0
        return Support(
            start=self.ranges[first][0],
            end=self.ranges[after - 1][1],
            held=held,
            share=min(1.0, _share(facts, there, foreign) / needed),
            missing=missing,
        )

    def _is_swapped(self, facts: Facts, first: int, after: int) -> bool:
        """Whether one of the sentences joins the claim's numbers to others."""
        return len(facts.numbers) > 1 and any(
            swapped(facts.numbers, self._said[n].numbers, text)
            or split(facts.numbers, facts.text, text, self._said[n].numbers)
            for n in range(first, after)
            for text in [readable(self._text[slice(*self.ranges[n])])]
        )

    def _is_of_another(self, facts: Facts, first: int, after: int) -> bool:
        """Whether a number of the claim stands in a clause that says nothing else of it, and another clause does."""

        def content(clause: str) -> Content:
            there = facts_of(clause).content
            said = frozenset(word for word in there if word in words or (is_han(word) and word in facts.text))
            akin = frozenset(word for word in there if is_han(word) and word[0] in facts.text)
            return there, said, said | akin

        words = facts.content
        return bool(words) and any(
            of_another(
                facts.numbers, readable(self._text[slice(*self.ranges[n])]), self._said[n].numbers, content
            )
            for n in range(first, after)
        )


def together(facts: Facts, supports: Sequence[Support], share: float) -> bool:
    """Whether ranges that do not suffice alone hold the facts between them."""
    held = frozenset[Fact]().union(*(support.held for support in supports))
    return held.issuperset((*range(len(facts.numbers)), *facts.names)) and _share(facts, held) >= share


def _share(facts: Facts, there: frozenset[Fact], foreign: frozenset[str] = frozenset()) -> float:
    """The share of what is claimed that stands there: a word or a name counts once, a telling number three times.

    Words in another script than the text's count for nothing, but then a number or names must tell enough.
    """
    weights: dict[Fact, int] = dict.fromkeys((*(facts.words - foreign), *facts.names), 1)
    weights |= {n: 3 if number.telling else 1 for n, number in enumerate(facts.numbers)}
    held = sum(weight for fact, weight in weights.items() if fact in there)
    if foreign and held < _LEAST_FOREIGN:
        return 0.0
    return held / sum(weights.values()) if weights else 1.0


_TELLING = 5 / 6  # of the share that is enough where a telling number stands there
_LEAST_FOREIGN = 3  # that a range in another script must hold
