"""Whether a range of text supports a sentence: its numbers, its names and enough of its content words.

This is a check of words, not of meaning: it catches marks on passages about other things, wrong numbers,
units and names, and numbers and names that the passage denies (`not 20 euros`); it does not see two facts swapped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from weightwright.rag.analyze import STOP_STEMS, is_han, own_terms, terms
from weightwright.rag.dates import Time
from weightwright.rag.names import NOTHING, Name, Written, has_name, names
from weightwright.rag.negation import denial
from weightwright.rag.quantities import quantities, readable
from weightwright.rag.quantity import Quantity, split_date, stands
from weightwright.rag.sentences import MARK, Range, sentences
from weightwright.rag.units import CURRENCIES, mentioned

# words with which answers speak about themselves, and that say how exact a number is
_WITHOUT_FACTS = """
answer accord sourc source passag passage document text context state stat mention say said provid inform
describ follow
about approxim around rough near total onli also per each everi both altogeth there most least maximum minimum
not no never yes up more less than onc
答案 回答 根据 资料 文档 文中 文本 说明 提到 提供 信息
约 大约 大概 左右 共 总共 一共 每 可以 需要 需 要 须 会 能 能够 可 应 则 并 即 该 名 位 个 至 到 由 里 则为
均 只 也 已 已经 所 最 全 这条 这个 这家 一个 要求 有关
不 不是 没有 没 并非 不得 超过 不超过 至多 最多 至少 位于 地处 坐落
"""
_IGNORED = STOP_STEMS | frozenset(_WITHOUT_FACTS.split())
_HEADING = re.compile(r"(#{1,6})\s")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence claims. A number's fact is its place among `numbers`."""

    numbers: tuple[Quantity, ...]
    names: tuple[Name, ...]
    words: frozenset[str]
    denies: bool = False  # whether it says of something that it is not so
    may_deny: bool = False

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names or self.words)

    def __len__(self) -> int:
        return len(self.numbers) + len(self.names) + len(self.words)


Fact = int | Name | str


def facts_of(sentence: str) -> Facts:
    """Numbers that it needs, names, content words; marks are left out."""
    text = readable(MARK.sub("", sentence))
    found = quantities(text)
    rest = _without(text, found)
    named = names(rest)
    of_names = {term for name in named for term in own_terms(name.word)}
    held = {_rooted(term) for term in own_terms(rest) if term not in _IGNORED and not term[0].isdigit()}
    numbers = tuple(q for q in found if q.required)
    said = denial(text)
    return Facts(numbers, named, frozenset(held - of_names - _of_units(numbers)), said.denies, said.may)


def _rooted(term: str) -> str:
    """A Chinese verb without the preposition that clings to it: 生 of 生于."""
    return term[0] if len(term) == 2 and term[1] == "于" and is_han(term) else term


# words that say no more than the unit of a number does: `costs 5 euros`, `lasts 2 hours`, `is 12 miles long`
_SAID_BY_UNITS = {
    "money": "cost price pay paid charg fee 价格 费用 收费 售价 花费 票价 价",
    "s": "last take durat long run 时长 持续 为期", "month": "last take durat long old 时长 持续 为期 年龄",
    "m": "long length 全长 长度 长", "mile": "long length 全长 长度 长", "foot": "long length 全长 长度 长",
    "°C": "temperatur warm cold hot 温度 气温", "degree": "temperatur warm cold hot 温度 气温",
    "°F": "temperatur warm cold hot",
    "date": "day date 日期 日子", "time": "time clock hour 时间 时刻",
    "kg": "weigh weight 重 重量", "lb": "weigh weight 重 重量", "m2": "area cover 面积 占地",
    "acre": "area cover 面积",
}  # fmt: skip


def _of_units(numbers: Sequence[Quantity]) -> frozenset[str]:
    bases = {"money" if base in CURRENCIES else base for number in numbers for base in number.bases}
    bases |= {
        "time" if isinstance(number.moment, Time) else "date"
        for number in numbers
        if number.moment is not None
    }
    return frozenset(word for base in bases for word in _SAID_BY_UNITS.get(base, "").split())


def _without(text: str, found: Sequence[Quantity]) -> str:
    """The text without its numbers and their units."""
    parts, done = [], 0
    for quantity in found:
        parts.append(text[done : max(done, quantity.start)])
        done = max(done, quantity.end)
    return " ".join([*parts, text[done:]])


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
            frozenset(terms(text)), found, Written.of(plain), mentioned(_without(plain, found)),
            said.denies, said.may, cls.in_(said.rest) if said.denies else None,
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
        return frozenset((*numbers, *named, *(word for word in facts.words if self._says(word))))

    def _says(self, word: str) -> bool:
        """Whether a word stands here; a Chinese one also where its characters do (河长 in 河流全长)."""
        return word in self.terms or (
            is_han(word) and all(character in self.written.text for character in word)
        )

    def _has(self, number: Quantity) -> bool:
        if stands(number, self.numbers, self.units):
            return True
        parts = split_date(number)
        return parts is not None and all(stands(part, self.numbers, self.units) for part in parts)


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
        for n in range(first, after):
            if self._levels[n] == 0:
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
        return Support(
            start=self.ranges[first][0],
            end=self.ranges[after - 1][1],
            held=held,
            share=_share(facts, there),
            missing=required - there,
        )


def together(facts: Facts, supports: Sequence[Support], share: float) -> bool:
    """Whether ranges that do not suffice alone hold the facts between them."""
    held = frozenset[Fact]().union(*(support.held for support in supports))
    return held.issuperset((*range(len(facts.numbers)), *facts.names)) and _share(facts, held) >= share


def _share(facts: Facts, there: frozenset[Fact]) -> float:
    """The share of content words that stand there; a number with its unit counts as one, and so does a name."""
    wanted = facts.words | set(range(len(facts.numbers))) | set(facts.names)
    return len(wanted & there) / len(wanted) if wanted else 1.0
