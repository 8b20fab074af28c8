"""Whether a text holds a word, or another of its kind: apply and application, staff and personnel, 开车 and 车辆.

This is for content words, which only show that a passage speaks of the same thing; numbers and names are never
taken so loosely.
"""

import gzip
import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files

from weightwright.rag.analyze import is_han
from weightwright.rag.normal import HAN

_SHORTEST_ROOT = 4  # letters that two words of a kind must share at their begin
# what WordNet does not have as one meaning, and guides, contracts and shops say for each other
_MORE_SYNONYMS = """
staff personnel employe worker colleagu
doctor medic physician medicin
overdu late outstand
annual yearli year
firm compani busi corpor organis organiz employ
client custom buyer
tenant renter lesse
landlord lessor
guest visitor
pupil student child children kid
men gent man male
women ladi woman femal
car vehicl automobil drive driver
flat apart
film movi
holiday vacat leav
refund reimburs repay
deposit bond
cancel termin end
fine penalti
accept welcom
particip attend attende enrol
locat situat lie
serv portion
head lead chief manag direct director boss
deputi vice assist
ship deliveri deliv send dispatch
contain hold includ compris consist
fridg refriger
trip travel journey ride
depart leav
arriv reach
""".strip()


_HAN = re.compile(f"[{HAN}]")


@dataclass(frozen=True)
class Words:
    """The terms of a text, with what tells words of their kind."""

    terms: frozenset[str] = frozenset()
    text: str = ""  # in small letters, for Chinese characters

    def __or__(self, other: "Words") -> "Words":
        return Words(self.terms | other.terms, f"{self.text}\n{other.text}")

    @cached_property
    def _han(self) -> int:
        return len(_HAN.findall(self.text))

    @property
    def chinese(self) -> bool:
        """Whether there are Chinese characters."""
        return self._han > 0

    @property
    def mostly_chinese(self) -> bool:
        """Whether Chinese characters are at least a third of the letters."""
        return 3 * self._han >= sum(map(str.isalpha, self.text))

    def hold(self, word: str, *, loose: bool = False) -> bool:
        """Whether the word stands here, or one of its kind.

        A Chinese one also where its characters do (河长 in 河流全长), if `loose` half of them (开车 in 车辆).
        """
        if word in self.terms:
            return True
        if is_han(word):
            there = sum(character in self.text for character in word)
            return there == len(word) or (loose and 2 * there >= len(word))
        return not _alike(word).isdisjoint(self.terms) or any(same_root(word, term) for term in self.terms)


NO_WORDS = Words()


def same_root(word: str, other: str) -> bool:
    """Whether one stem begins with the other, but for its last letter: applic, appli; extens, extend; rent."""
    short, long = sorted((word, other), key=len)
    if len(short) < _SHORTEST_ROOT or short[:_SHORTEST_ROOT] != long[:_SHORTEST_ROOT]:
        return False
    return long.startswith(short[:-1] if len(short) > _SHORTEST_ROOT + 1 else short)


@lru_cache(maxsize=4096)
def _alike(word: str) -> frozenset[str]:
    """Stems of words of the same meaning."""
    return frozenset().union(*(_groups()[n] for n in _index().get(word, ())))


@cache
def _groups() -> tuple[frozenset[str], ...]:
    packed = (files("weightwright.rag") / "synonyms.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    return tuple(
        frozenset(line.split()) for line in (*_MORE_SYNONYMS.splitlines(), *lines) if line[:1] != "#"
    )


@cache
def _index() -> dict[str, tuple[int, ...]]:
    """Each stem with the numbers of its groups."""
    index: dict[str, list[int]] = {}
    for n, group in enumerate(_groups()):
        for word in group:
            index.setdefault(word, []).append(n)
    return {word: tuple(numbers) for word, numbers in index.items()}
