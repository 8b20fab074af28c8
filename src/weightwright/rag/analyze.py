"""Text to terms, the same for every store, every query and every citation check.

Letters are made small, English words cut to their stem (Snowball), numbers kept whole (`1,234` is `1234`),
Chinese cut by jieba in search mode, so that a word and the words inside it are both found, kana cut to
pairs. Capitals that look like a stop word (IT, WHO, US) have a term of their own beside it.
"""

import re
import threading
from functools import lru_cache
from typing import Any

from weightwright.rag.normal import HAN, KANA, simplified, visible

VERSION = 2  # of the terms that a text gives; an index made with another one is made again
_LETTER = rf"(?:(?![{HAN}{KANA}_])[^\W\d])"
_TOKEN = re.compile(
    rf"[{HAN}]+|[{KANA}]+|\d+(?:[.,]\d+)*|(?<!\w)[A-Za-z](?:\+\+|#)(?!\w)|{_LETTER}+(?:['’](?={_LETTER}){_LETTER}+)*"
)
_HAN = re.compile(rf"[{HAN}]")
_KANA = re.compile(rf"[{KANA}]")
_DOTTED = re.compile(r"(?<![\w.])(?:[A-Z]\.){2,}")  # U.S., with the dot that may end the sentence
_SIGNS = {"+": ".plusplus", "#": ".sharp"}
_OWN = ".name"  # ends the terms of IT and May, which `it` and `may` are not
_ALSO_NAMES = frozenset(("May", "Will"))

_WORDS_WITHOUT_CONTENT = """
a am an and any are as at be been being but by can could did do does for from get got had has have having he her
hers him his how i if in into is it its itself may me might my of on or our ours shall she should so
some such than that the their theirs them then there these they this those to us was we were what when
where which while who whom whose why will with would you your yours
的 了 着 过 在 是 和 与 或 及 以及 有 为 被 把 将 于 中 上 下
对 从 以 等 也 而 且 其 这 那 个 之 都 就 还 什么 谁 哪 哪个 哪些
哪里 多少 几 几天 几个 几点 几人 几年 多久 多长 吗 呢 吧 怎么 怎样 如何 为什么 何 何时 我
你 他 她 它 我们 你们 他们 们
"""
STOP_WORDS = frozenset(_WORDS_WITHOUT_CONTENT.split())


def terms(text: str) -> list[str]:
    """The terms of `text` in order, with repetitions; letters, digits and dots only, never empty strings."""
    text = _readable(text)
    return [term for match in _TOKEN.finditer(text) for term in _terms_of(text, match)]


def query_terms(text: str) -> list[str]:
    """The terms of a question as often as they stand, without stop words; with them where nothing else is.

    Of capitals that look like a stop word only their own term counts.
    """
    found = terms(text)
    return [term for term in found if term not in STOP_STEMS] or found


def normal(text: str) -> str:
    """As `terms` reads a text, in small letters."""
    return _readable(text).lower()


def stem(word: str) -> str:
    """An English word (small letters) as its Snowball stem; others come back as they are."""
    if len(word) < 3 or not word.isascii():
        return word
    return _stemmed(word)


def is_han(term: str) -> bool:
    """Whether a term is Chinese."""
    return bool(_HAN.match(term))


def is_own_name(term: str) -> bool:
    """Whether a term stands for capitals that look like a stop word."""
    return term.endswith(_OWN)


class _Stemmers(threading.local):
    """One stemmer a thread: PyStemmer's are not to be shared."""

    def __init__(self) -> None:
        import Stemmer

        self.english: Any = Stemmer.Stemmer("english")


_STEMMERS: _Stemmers | None = None


@lru_cache(maxsize=65_536)
def _stemmed(word: str) -> str:
    global _STEMMERS  # noqa: PLW0603 - made at the first word, so that importing this loads nothing
    if _STEMMERS is None:
        _STEMMERS = _Stemmers()
    found: str = _STEMMERS.english.stemWord(word)
    return found


def _readable(text: str) -> str:
    return _DOTTED.sub(lambda match: match[0].replace(".", "") + " ", simplified(visible(text)))


def _terms_of(text: str, match: re.Match[str]) -> list[str]:
    token = match[0]
    if is_han(token):
        import rjieba

        return list(rjieba.cut_for_search(token))
    if _KANA.match(token):
        return [token[i : i + 2] for i in range(max(1, len(token) - 1))]
    if token[0].isdigit():
        return [_number(token)]
    if token[-1] in _SIGNS:
        return [token[0].lower() + _SIGNS[token[-1]]]
    word = token.lower()
    plain = stem(word.replace("’", "'").removesuffix("'s")).replace("'", "")
    if word in STOP_WORDS and _is_name(text, match):
        return [plain, word + _OWN]
    return [plain] if plain else []


def _is_name(text: str, match: re.Match[str]) -> bool:
    """Whether a word that looks like a stop word is none: IT, WHO, and May inside a sentence."""
    word = match[0]
    if len(word) > 1 and word.isupper():
        return not _is_shouted(text, match)
    if word not in _ALSO_NAMES:
        return False
    before = text[: match.start()].rstrip()
    return bool(before) and before[-1] not in ".!?:;\n\"'“‘("


def _is_shouted(text: str, match: re.Match[str]) -> bool:
    """Whether the words around stand in capitals, too (a headline), so that capitals say nothing."""
    around = text[max(0, match.start() - 24) : match.start()] + " " + text[match.end() : match.end() + 24]
    words = re.findall(r"(?<!\w)[A-Za-z]{4,}", around)
    return bool(words) and all(word.isupper() for word in words)


def _number(token: str) -> str:
    """`1,234.50` is `1234.5`, `007` is `7`; other digits with dots (dates, versions) stay as they are."""
    plain = (
        token.replace(",", "")
        if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", token)
        else token.replace(",", ".")
    )
    if plain.count(".") == 1 and plain.isascii():
        plain = plain.rstrip("0").rstrip(".")
    return plain.lstrip("0") or "0"


STOP_STEMS = STOP_WORDS | {"ani", "doe", "whi"}  # stems of any, does and why, which are no words
