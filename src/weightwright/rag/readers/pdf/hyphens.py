"""Hyphens at the ends of lines: which are part of their word and which only divide it."""

import re
from collections import Counter
from collections.abc import Sequence

# letters or digits, a hyphen that ends the line, and what the next line begins with
_AT_LINE_END = re.compile(r"(?P<left>[^\W_](?:[\w.'’/-]*[\w.'’])?)-\n(?P<right>[^\W_][\w'’]*)")
_WORD = re.compile(r"[^\W\d_][\w'’]*(?:-[\w'’]+)*")
# second parts that make a compound with almost any word before them
_SECOND_PARTS_TEXT = """
based related driven specific dependent oriented free friendly aware effective efficient defined known funded
owned wide-ranging led made built sized shaped coloured colored looking sounding going standing existing
generation hoc
"""
_SECOND_PARTS = frozenset(_SECOND_PARTS_TEXT.split())
# what is written together with almost any word behind it: understanding, unlike, ongoing
_PREFIXES_TEXT = "under over out up on in un re mis dis fore with inter trans super sub be off down"
_PREFIXES = frozenset(_PREFIXES_TEXT.split())
# first parts that mostly keep their hyphen, before the words that commonly follow them
_FIRST_PARTS_TEXT = """
long short high low mid well self full part half real first second third fourth one two three four five six seven
eight nine ten large small late early hard soft fast slow deep open closed cross near double single multi low
"""
_FIRST_PARTS = frozenset(_FIRST_PARTS_TEXT.split())
_AFTER_FIRST_PARTS_TEXT = """
term time times scale level range depth quality order dimensional party hand rate rated risk speed step stage
class cost density energy resolution frequency performance power pressure temperature throughput volume value
day days week weeks month months year years hour hours minute minutes page pages part way side sided fold
lived lasting running standing distance haul list lists form tail tailed tech end ended profile priority grade
income life size sized width height length sleeve service employed esteem evident contained control assessment
attention supervised regulation help report reported known defined established being made written documented
founded suited designed trained world wired coded earned working source ended loop border country section sectional
sectoral validation platform border cultural language lingual entropy reference check stranded blind digit bit
"""
_AFTER_FIRST_PARTS = frozenset(_AFTER_FIRST_PARTS_TEXT.split())
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = frozenset(_TENS_TEXT.split())
_UNITS_TEXT = """
one two three four five six seven eight nine first second third fourth fifth sixth seventh eighth ninth
"""
_UNITS = frozenset(_UNITS_TEXT.split())
_OFFICES_TEXT = """
president chairman chairwoman chair chancellor principal minister employee employer husband wife partner member
officer director mayor student convict
"""
_OFFICES = frozenset(_OFFICES_TEXT.split())  # behind vice- and ex-
_FRENCH_TEXT = "après-midi peut-être rendez-vous grand-père grand-mère chef-d’œuvre au-dessus au-dessous"
_FRENCH = frozenset(_FRENCH_TEXT.split())


def join_hyphenated(texts: Sequence[str]) -> list[str]:
    """The pages' texts with words that a line end divides made whole."""
    if not any("-\n" in text for text in texts):
        return list(texts)
    wanted = {form for text in texts for match in _AT_LINE_END.finditer(text) for form in _forms(match)}
    spelled = (word for text in texts for word in map(str.lower, _WORD.findall(text)))
    words = Counter(word for word in spelled if word in wanted)

    def whole(match: re.Match[str]) -> str:
        left, right = match["left"], match["right"]
        return f"{left}-{right}" if _keeps(left, right, words) else left + right

    return [_AT_LINE_END.sub(whole, text) for text in texts]


def _forms(match: re.Match[str]) -> tuple[str, str]:
    """A divided word with its hyphen and without."""
    first, second = match["left"].lower().rsplit("/", 1)[-1], match["right"].lower()
    return f"{first}-{second}", first + second


def _keeps(left: str, right: str, words: Counter[str]) -> bool:
    """Whether the hyphen between the two is part of the word."""
    if not right[0].islower() or not left[-1].isalpha() or "-" in left or _is_address(left):
        return True
    first, second = left.lower().rsplit("/", 1)[-1], right.lower()
    hyphenated, joined = words[f"{first}-{second}"], words[first + second]
    if hyphenated or joined:
        return hyphenated > joined
    if second in _SECOND_PARTS and first not in _PREFIXES:
        return True
    return (first in _FIRST_PARTS and second in _AFTER_FIRST_PARTS) or _is_compound(first, second)


def _is_compound(first: str, second: str) -> bool:
    """Whether two words are one with a hyphen wherever they meet: X-ray, twenty-five, vice-president, après-midi."""
    return (
        len(first) == 1  # no word is divided behind its first letter
        or (first in _TENS and second in _UNITS)
        or (first in ("vice", "ex") and second.rstrip("s") in _OFFICES)
        or f"{first.rsplit('’', 1)[-1]}-{second}" in _FRENCH
    )


def _is_address(left: str) -> bool:
    """Whether what stands before a hyphen is part of a web address or a file's name, which is not divided."""
    return re.search(r"\w\.\w+/|^www\.", left) is not None
