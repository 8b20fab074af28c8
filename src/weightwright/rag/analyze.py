"""Text to terms, the same for every store, every query and every citation check.

Letters are made small, accents dropped, English words cut to their stem (Snowball), numbers kept whole (`1,234`
is `1234`), Chinese cut by jieba in search mode, so that a word and the words inside it are both found; kana, Hangul
and scripts without spaces cut to pairs. Some words have further terms beside their own: capitals that look like a
stop word (IT, WHO, US), accented words as they are written, the parts of getUserName, e-mail in one.
"""

import re
import threading
from functools import lru_cache
from typing import Any

from weightwright.rag.normal import HAN, HANGUL, KANA, MARKS, UNSPACED, folded, simplified, visible

VERSION = 3  # of the terms that a text gives; an index made with another one is made again
_LETTER = rf"(?:(?![{HAN}{KANA}{HANGUL}{UNSPACED}_])[^\W\d][{MARKS}]*)"
_TOKEN = re.compile(
    rf"[{HAN}]+|[{KANA}]+|[{HANGUL}]+|[{UNSPACED}]+|\d+(?:[.,]\d+)*|(?<!\w)[A-Za-z](?:\+\+|#)(?!\w)"
    rf"|{_LETTER}+(?:['’](?={_LETTER}){_LETTER}+)*"
)
_PAIRED = re.compile(f"[{KANA}{HANGUL}{UNSPACED}]")
_CLUSTER = re.compile(f".[{MARKS}]*", re.DOTALL)
# l'homme, d'accord, qu'il, dell'arte
_ELIDED = re.compile(
    r"^(?:[ldjtncms]|qu|jusqu|lorsqu|puisqu|all|dall|dell|nell|sull|un)['’](?=[^\W\d_]{2})", re.I
)
# getUserName, HTTPServer: where one word ends and the next begins
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HYPHENED = re.compile(rf"(?<![A-Za-z\d_-])({_LETTER}+)-({_LETTER}+)(?![A-Za-z\d_-])")
_HAN = re.compile(rf"[{HAN}]")
_DOTTED = re.compile(r"(?<![\w.])(?:[A-Z]\.){2,}")  # U.S., with the dot that may end the sentence
_SIGNS = {"+": ".plusplus", "#": ".sharp"}
_OWN = ".name"  # ends the terms of IT and May, which `it` and `may` are not
_EXACT = ".exact"  # ends the terms of accented words as they are written
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
    found = [term for match in _TOKEN.finditer(text) for term in (*_terms_of(match), *_beside(text, match))]
    return found + [stem(folded("".join(match.groups()).lower())) for match in _HYPHENED.finditer(text)]


def own_terms(text: str) -> list[str]:
    """The terms of `text` without those that stand beside a word's own."""
    text = _readable(text)
    return [term for match in _TOKEN.finditer(text) for term in _terms_of(match)]


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


def _terms_of(match: re.Match[str]) -> list[str]:
    token = match[0]
    if is_han(token):
        import rjieba

        return list(rjieba.cut_for_search(token))
    if _PAIRED.match(token):
        clusters = _CLUSTER.findall(token)
        return ["".join(clusters[i : i + 2]) for i in range(max(1, len(clusters) - 1))]
    if token[0].isdigit():
        return [_number(token)]
    if token[-1] in _SIGNS:
        return [token[0].lower() + _SIGNS[token[-1]]]
    word = folded(_ELIDED.sub("", token).lower())
    plain = stem(word.replace("’", "'").removesuffix("'s")).replace("'", "")
    return [plain] if plain else []


def _beside(text: str, match: re.Match[str]) -> list[str]:
    """Further terms of a word: of capitals, of its accents, of its parts."""
    token = match[0]
    if token[0].isdigit() or token[-1] in _SIGNS or is_han(token) or _PAIRED.match(token):
        return []
    word = token.lower()
    if word in STOP_WORDS:
        return [word + _OWN] if _is_name(text, match) else []
    found = [] if word.isascii() or folded(word) == word else [re.sub(r"['’]", "", word) + _EXACT]
    parts = _HUMP.split(token)
    if len(parts) > 1 and all(len(part) > 1 for part in parts):
        found += [stem(part.lower()) for part in parts]
    return found


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
