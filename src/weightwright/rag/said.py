"""What a piece of text holds of what a sentence claims: words, numbers, names, and what it denies of them."""

import re
from dataclasses import dataclass

from weightwright.rag.analyze import STOP_STEMS, is_han, terms
from weightwright.rag.claim import Fact, Facts, without
from weightwright.rag.names import NOTHING, Written, has_name
from weightwright.rag.negation import denial
from weightwright.rag.quantities import derived, quantities
from weightwright.rag.quantity import Quantity, split_date, stands
from weightwright.rag.readable import readable
from weightwright.rag.units import mentioned
from weightwright.rag.words import NO_WORDS, Words, same_root

_CODE = re.compile(r"[a-z]\d|\d[a-z]")  # P60, of which the letter alone says nothing


@dataclass(frozen=True, slots=True)
class Said:
    """What a piece of text holds."""

    words: Words = NO_WORDS
    numbers: tuple[Quantity, ...] = ()
    written: Written = NOTHING
    units: frozenset[str] = frozenset()
    denies: bool = False
    may_deny: bool = False
    undenied: "Said | None" = None  # what is left without the clauses that deny, where some do

    @classmethod
    def in_(cls, text: str) -> "Said":
        """What a text holds."""
        plain = readable(text)
        found = tuple(quantities(plain))
        said = denial(plain)
        return cls(
            Words(frozenset(terms(plain)), plain.lower()), (*found, *derived(plain, found)), Written.of(plain),
            mentioned(without(plain, found)),
            said.denies, said.may, cls.in_(said.rest) if said.denies else None,
        )  # fmt: skip

    def __or__(self, other: "Said") -> "Said":
        return Said(
            self.words | other.words,
            self.numbers + other.numbers,
            self.written | other.written,
            self.units | other.units,
            self.denies or other.denies,
            self.may_deny or other.may_deny,
            self._left | other._left if self.undenied or other.undenied else None,
        )

    @property
    def _left(self) -> "Said":
        return self.undenied or self

    def holds(self, facts: Facts) -> frozenset[Fact]:
        """Those of the facts that stand here.

        A number or name that is denied here, or only denied in the claim, does not.
        """
        if facts.denies and not self.may_deny:
            return frozenset(word for word in facts.words if self.words.hold(word))
        there = self if facts.may_deny else self._left
        numbers = {n for n, number in enumerate(facts.numbers) if there._has(number)}
        named = {name for name in facts.names if has_name(name, there.written)}
        loose = bool(facts.numbers)  # which tell already what the text speaks of
        words = frozenset(word for word in facts.words if self.words.hold(word, loose=loose))
        if not loose and there is not self:
            undenied = frozenset(word for word in facts.words if there.words.hold(word))
            words = words if 2 * len(undenied) >= len(words) else undenied
        return frozenset((*numbers, *named, *words))

    def foreign(self, facts: Facts) -> frozenset[str]:
        """Those of the words that are in another script than the text, so that nobody can find them here."""
        if self.words.chinese:
            return (
                frozenset(word for word in facts.words if not is_han(word))
                if self.words.mostly_chinese
                else frozenset()
            )
        return frozenset(word for word in facts.words if is_han(word))

    @property
    def names_units(self) -> bool:
        """Whether some number has a unit, or one is named beside the numbers."""
        return bool(self.units) or any(not number.bare for number in self.numbers if number.plain)

    def names(self, facts: Facts) -> bool:
        """Whether a claim says all words that stand here, which are what a row or a column is about."""
        if self.words.chinese:
            return self.words.text.strip() in facts.text
        if _CODE.search(self.words.text):
            return self.words.terms <= frozenset(terms(facts.text))
        wanted = {term for term in terms(without(self.words.text, self.numbers)) if term not in STOP_STEMS}
        if not wanted and self.numbers:
            return all(stands(number, facts.numbers, ()) for number in self.numbers if number.required)
        said = facts.words | frozenset(terms(facts.text))
        of_numbers = {str(value) for number in facts.numbers for value in number.plain}
        return bool(wanted) and all(
            term in of_numbers or any(term == word or same_root(term, word) for word in said)
            for term in wanted
        )

    def _has(self, number: Quantity) -> bool:
        if stands(number, self.numbers, self.units):
            return True
        parts = split_date(number)
        return parts is not None and all(stands(part, self.numbers, self.units) for part in parts)
