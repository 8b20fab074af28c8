"""Text to terms, the same for every store, every query and every citation check.

Full-width forms are made narrow (NFKC), letters small, English words cut to a stem by simple endings,
numbers kept whole (`1,234` is `1234`), Chinese cut by jieba in search mode, so that a word and the
words inside it are both found.
"""

import re
import unicodedata
from functools import lru_cache

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    rf"[{HAN}]+|\d+(?:[.,]\d+)*|(?:(?![{HAN}_])[^\W\d])+(?:['’](?=[^\W\d])(?:(?![{HAN}_])[^\W\d])+)*"
)
_HAN = re.compile(rf"[{HAN}]")
_FRACTION = re.compile("(?=[¼-¾⅐-⅞])")
_VOWELS = frozenset("aeiouy")

_WORDS_WITHOUT_CONTENT = """
a an and any are as at be been being but by can could did do does for from get got had has have having he her
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
    return [term for match in _TOKEN.finditer(normal(text)) for term in _terms_of(match[0])]


def query_terms(text: str) -> list[str]:
    """The distinct terms of a question without stop words; with them where there is nothing else."""
    distinct = list(dict.fromkeys(terms(text)))
    return [term for term in distinct if term not in STOP_STEMS] or distinct


def normal(text: str) -> str:
    """Narrow forms (NFKC; 6½ stays two numbers) and small letters."""
    return unicodedata.normalize("NFKC", _FRACTION.sub(" ", text)).lower()


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """An English word (small letters) without its simple endings; others come back as they are."""
    if len(word) < 4 or not word.isascii():
        return word
    word = _without_plural(word.removesuffix("'s"))
    for ending in ("ingly", "edly", "ing", "ed", "ly"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and not _VOWELS.isdisjoint(rest):
            doubled = ending != "ly" and len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lsz"
            word = rest[:-1] if doubled else rest
            break
    if len(word) > 4 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 3 and word.endswith("y") and word[-2] not in _VOWELS:
        word = word[:-1] + "i"
    return word


def is_han(term: str) -> bool:
    """Whether a term is Chinese."""
    return bool(_HAN.match(term))


def _terms_of(token: str) -> list[str]:
    if is_han(token):
        import rjieba

        return list(rjieba.cut_for_search(token))
    if token[0].isdigit():
        return [_number(token)]
    return [stem(token.replace("’", "'")).replace("'", "")]


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


def _without_plural(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS) | STOP_WORDS
