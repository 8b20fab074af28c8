"""Whether a range of text supports a sentence: its numbers, its names and enough of its content words.

This is a check of words, not of meaning: it catches marks on passages about other things, wrong numbers
and wrong names; it does not see a negation or two facts swapped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from weightwright.rag.analyze import HAN, STOP_STEMS, is_han, stem, terms
from weightwright.rag.sentences import MARK, Range, sentences

_WORD = re.compile(rf"(?:(?![{HAN}_])\w)+(?:['’.,](?:(?![{HAN}_])\w)+)*")
_OPENING = re.compile(r"[\s\"'“‘(\[*_>#-]*$")
# words with which answers speak about themselves
_ABOUT_ANSWERS = """
answer accord source passage document text context state stat mention say said provid inform describ follow
答案 回答 根据 资料 文档 文中 文本 说明 提到 提供 信息
"""
_IGNORED = STOP_STEMS | frozenset(_ABOUT_ANSWERS.split()) | {"say", "said"}
_SHORTEST_ROOT = 4  # letters that two forms of a name must share (Egypt, Egyptian)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence claims, as terms."""

    numbers: frozenset[str]
    names: frozenset[str]
    words: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names or self.words)

    def __len__(self) -> int:
        return len(self.numbers) + len(self.names) + len(self.words)


def facts_of(sentence: str) -> Facts:
    """Numbers, names (capitals inside an English sentence, Latin words in a Chinese one), content words."""
    text = MARK.sub("", sentence)
    held = [term for term in terms(text) if term not in _IGNORED]
    numbers = {term for term in held if term[0].isdigit()}
    names = _names(text)
    return Facts(frozenset(numbers), frozenset(names), frozenset(set(held) - numbers - names))


def _names(text: str) -> set[str]:
    chinese = any(is_han(character) for character in text)
    names: set[str] = set()
    for match in _WORD.finditer(text):
        word = match[0]
        if not word[0].isalpha():
            continue
        first = not text[: match.start()] or bool(_OPENING.match(text[: match.start()]))
        capital = word[0].isupper() and (not first or (word.isupper() and len(word) > 1))
        if chinese or capital:
            names.update(term for term in terms(word) if term not in _IGNORED)
    return {name for name in names if not name[0].isdigit()}


@dataclass(frozen=True, slots=True)
class Support:
    """How far a range supports a sentence. `missing` is what it must hold and does not."""

    start: int
    end: int
    held: frozenset[str]
    share: float
    missing: frozenset[str]

    def enough(self, share: float) -> bool:
        """No number or name is missing, something is there, and so are enough of the content words."""
        return not self.missing and bool(self.held) and self.share >= share


class Evidence:
    """A passage's sentences and the terms in each; `heading` counts for every one of them."""

    def __init__(self, text: str, heading: str = "") -> None:
        self._text = text
        self._heading = heading

    @cached_property
    def ranges(self) -> list[Range]:
        """The sentences as ranges of the passage."""
        return sentences(self._text)

    @cached_property
    def _terms(self) -> list[frozenset[str]]:
        return [frozenset(terms(self._text[start:end])) for start, end in self.ranges]

    @cached_property
    def _heading_terms(self) -> frozenset[str]:
        return frozenset(terms(self._heading))

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
        return [self._support(facts, first, first + length) for first in range(len(self.ranges) - length + 1)]

    def _support(self, facts: Facts, first: int, after: int) -> Support:
        inside = frozenset[str]().union(*self._terms[first:after])
        there = inside | self._heading_terms
        missing = {number for number in facts.numbers if not _has_number(number, there)}
        missing |= {name for name in facts.names if not _has_name(name, there)}
        held_words = facts.words & there
        held = {fact for fact in (*facts.numbers, *facts.names, *facts.words) if fact in inside}
        held |= {number for number in facts.numbers if _has_number(number, inside)}
        held |= {name for name in facts.names if _has_name(name, inside)}
        return Support(
            start=self.ranges[first][0],
            end=self.ranges[after - 1][1],
            held=frozenset(held),
            share=len(held_words) / len(facts.words) if facts.words else 1.0,
            missing=frozenset(missing),
        )


def together(facts: Facts, supports: Sequence[Support], share: float) -> bool:
    """Whether ranges that do not suffice alone hold the facts between them."""
    held = frozenset[str]().union(*(support.held for support in supports))
    words = len(facts.words & held) / len(facts.words) if facts.words else 1.0
    return facts.numbers | facts.names <= held and words >= share


_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve",
    "零 一 二 三 四 五 六 七 八 九 十",
)
_SPELLED = {
    str(value): frozenset((stem(english), chinese))
    for value, (english, chinese) in enumerate(zip(*(w.split() for w in _NUMBER_WORDS), strict=False))
} | {"2": frozenset(("two", "二", "两")), "11": frozenset(("eleven",)), "12": frozenset((stem("twelve"),))}


def _has_number(number: str, there: frozenset[str]) -> bool:
    return number in there or not _SPELLED.get(number, frozenset()).isdisjoint(there)


def _has_name(name: str, there: frozenset[str]) -> bool:
    """The name itself, or a form of it that shares its root (Egyptian, Egypt)."""
    if name in there:
        return True
    return any(
        min(len(name), len(term)) >= _SHORTEST_ROOT and (name.startswith(term) or term.startswith(name))
        for term in there
    )
