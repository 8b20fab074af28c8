"""Whether a range of text supports a sentence: its numbers, its names and enough of its content words.

This is a check of words, not of meaning: it catches marks on passages about other things, wrong numbers,
units and names, and numbers and names that the passage denies (`not 20 euros`). Of facts that are swapped it sees
numbers that belong to another number, clause or row (`binding`), not two names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from weightwright.rag.analyze import is_han, terms
from weightwright.rag.binding import Content, of_another, split, swapped
from weightwright.rag.facts import Fact, Facts, facts_of, without
from weightwright.rag.names import NOTHING, Written, has_name
from weightwright.rag.negation import denial
from weightwright.rag.quantities import derived, quantities, readable
from weightwright.rag.quantity import Quantity, split_date, stands
from weightwright.rag.sentences import Range, sentences
from weightwright.rag.units import mentioned

_FAMILY = 4  # letters: shorter stems begin others by chance
_ROW = re.compile(r"\|\s*([^|]*)\|")
_RULE = re.compile(r"\|\s*:?-{2,}")  # between a table's header and its rows
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


@dataclass(frozen=True, slots=True)
class _Said:
    """What a piece of text holds."""

    terms: frozenset[str] = frozenset()
    numbers: tuple[Quantity, ...] = ()
    written: Written = NOTHING
    units: frozenset[str] = frozenset()
    denies: bool = False
    may_deny: bool = False
    undenied: "_Said | None" = None  # what is left without the clauses that deny, where some do

    @classmethod
    def in_(cls, text: str) -> "_Said":
        plain = readable(text)
        found = tuple(quantities(plain))
        said = denial(plain)
        return cls(
            frozenset(terms(text)), (*found, *derived(plain, found)), Written.of(plain),
            mentioned(without(plain, found)), said.denies, said.may, cls.in_(said.rest) if said.denies else None,
        )  # fmt: skip

    def __or__(self, other: "_Said") -> "_Said":
        return _Said(
            self.terms | other.terms,
            self.numbers + other.numbers,
            self.written | other.written,
            self.units | other.units,
            self.denies or other.denies,
            self.may_deny or other.may_deny,
            self._left | other._left if self.undenied or other.undenied else None,
        )

    @property
    def _left(self) -> "_Said":
        return self.undenied or self

    def holds(self, facts: Facts) -> frozenset[Fact]:
        """Those of the facts that stand here.

        A number or name that is denied here, or only denied in the claim, does not.
        """
        if facts.denies and not self.may_deny:
            return frozenset(word for word in facts.words if self._says(word))
        there = self if facts.may_deny else self._left
        numbers = {n for n, number in enumerate(facts.numbers) if there._has(number)}
        named = {name for name in facts.names if has_name(name, there.written)}
        spelled = {term for short, words in facts.spelled if short in self.written.words for term in words}
        said = (word for word in facts.words if word in spelled or self._says(word))
        return frozenset((*numbers, *named, *said))

    def _says(self, word: str) -> bool:
        """Whether a word stands here; a Chinese one also where its characters do (河长 in 河流全长)."""
        if word in self.terms:
            return True
        if is_han(word):
            return all(character in self.written.text for character in word) or (
                len(word) > 2 and word[-2:] in self.written.text  # 气温 of 最低气温
            )
        return len(word) >= _FAMILY and any(_is_of_a_family(word, term) for term in self.terms)

    def _has(self, number: Quantity) -> bool:
        if stands(number, self.numbers, self.units):
            return True
        if number.plain == {1} and number.counted:  # one orbit, where the source says: every orbit
            article = rf"\b(?:an?|each|every|per) (?:[a-z]+ )?{re.escape(number.counted)}"
            if re.search(article, self.written.text):
                return True
        parts = split_date(number)
        return parts is not None and all(stands(part, self.numbers, self.units) for part in parts)


def _is_of_a_family(word: str, other: str) -> bool:
    """Whether one stem begins or ends the other: appli of apply, applic of applicant; night, overnight."""
    short, long = sorted((word, other), key=len)
    near = len(short) >= _FAMILY and len(long) - len(short) <= _FAMILY
    return near and (long.startswith(short) or long.endswith(short))


class Evidence:
    """A passage's sentences and what each says. Its headings count for what stands below them, not alone."""

    def __init__(self, text: str, heading: str = "") -> None:
        self._text = text
        self._heading = heading

    @cached_property
    def ranges(self) -> list[Range]:
        """The sentences as ranges of the passage."""
        return sentences(self._text)

    @cached_property
    def _said(self) -> list[_Said]:
        return [_Said.in_(self._text[start:end]) for start, end in self.ranges]

    @cached_property
    def _levels(self) -> list[int]:
        """The level of the sentences that are headings, 0 of the others."""
        marks = [_HEADING.match(self._text, start) for start, _ in self.ranges]
        return [len(mark[1]) if mark else 0 for mark in marks]

    @cached_property
    def _above(self) -> list[_Said]:
        """What the headings above each sentence say."""
        outside = _Said.in_(self._heading) if self._heading else _Said()
        above, stack = [], dict[int, _Said]()
        for level, said in zip(self._levels, self._said, strict=True):
            if level:
                stack = {other: text for other, text in stack.items() if other < level}
                stack[level] = said
            joined = outside
            for text in stack.values():
                joined |= text
            above.append(joined)
        return above

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
            if self._is_run(first, first + length)
        ]

    def _is_run(self, first: int, after: int) -> bool:
        """Whether no heading parts the sentences."""
        levels = self._levels[first:after]
        return not any(level and not before for before, level in pairwise(levels))

    def _support(self, facts: Facts, first: int, after: int) -> Support:
        inside, above = _Said(), _Said()
        others = self._rows_of_others(facts, first, after)
        for n in range(first, after):
            if self._levels[n] == 0 and n not in others:
                inside |= self._said[n]
                above |= self._above[n]
        held, of_heading = inside.holds(facts), above.holds(facts)
        everything = frozenset[Fact]((*range(len(facts.numbers)), *facts.names, *facts.words))
        there = (inside | above).holds(facts)
        if not (held - of_heading) and (everything - of_heading or not held):
            there = held  # what the text says itself is nothing that the heading does not say
        elif everything <= of_heading:
            there = held
        required = frozenset[Fact]((*range(len(facts.numbers)), *facts.names))
        missing = required - there
        if not missing and (
            self._is_swapped(facts, first, after) or self._is_of_another(facts, first, after)
        ):
            missing = required
        return Support(
            start=self.ranges[first][0],
            end=self.ranges[after - 1][1],
            held=held,
            share=_share(facts, there),
            missing=missing,
        )

    def _rows_of_others(self, facts: Facts, first: int, after: int) -> set[int]:
        """The rows of a table between `first` and `after` that are not spoken of, where others are."""
        labels = {n: label for n in range(first, after) if (label := self._labels[n])}
        named = {n for n, label in labels.items() if label <= facts.terms}
        return set(labels) - named if named else set()

    @cached_property
    def _labels(self) -> list[frozenset[str]]:
        """The terms of the first cell of the sentences that are rows of a table; none of its header."""
        texts = [self._text[start:end] for start, end in self.ranges]
        rows = [_ROW.match(text) for text in texts]
        below = [*(_RULE.match(text) for text in texts[1:]), None]
        return [
            frozenset(terms(row[1])) if row and not rule and not _RULE.match(text) else frozenset()
            for row, rule, text in zip(rows, below, texts, strict=True)
        ]

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
            return there, frozenset(
                word for word in there if word in words or (is_han(word) and word in facts.text)
            )

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


def _share(facts: Facts, there: frozenset[Fact]) -> float:
    """The share of content words that stand there; a name counts as one, a number as one, or two (`_weight`)."""
    weights: dict[Fact, int] = {n: _weight(number) for n, number in enumerate(facts.numbers)}
    weights.update(dict.fromkeys(facts.words, 1))
    weights.update(dict.fromkeys(facts.names, 1))
    held = sum(weight for fact, weight in weights.items() if fact in there)
    return held / sum(weights.values()) if weights else 1.0


def _weight(number: Quantity) -> int:
    """How much a number says: one of three digits or more (53,900; 1905; 9.58) stands nowhere by chance."""
    digits = {str(value.numerator * 10**6 // value.denominator).strip("0") for value in number.plain}
    return 2 if any(len(figures) >= 3 for figures in digits) else 1
