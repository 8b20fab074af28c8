"""Two texts of one page word by word: a bag of words each, and how far they agree."""

import re
import unicodedata
from collections import Counter

AGREE = 0.98
_HYPHEN = re.compile(r"(?<=\w)[-\xad\u2010]\s*(?=\w)")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words(text: str) -> Counter[str]:
    """Words without hyphens, case and compatibility forms; each Chinese, Japanese or Korean character is one."""
    return Counter(in_order(text))


def in_order(text: str) -> list[str]:
    """The words of `words`, one after the other."""
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/").casefold()
    return _WORD.findall(_HYPHEN.sub("", text))


def f1(one: Counter[str], other: Counter[str]) -> float:
    """Twice the common words to all words of both; 1 where neither has any."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def glued(bag: Counter[str]) -> Counter[str]:
    """The characters of a bag of words."""
    return Counter("".join(bag.elements()))
