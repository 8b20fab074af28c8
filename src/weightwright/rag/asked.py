"""The codes that a question names (Fennick 16, zone D), and whether passages know them or only others like them."""

import re
from collections.abc import Sequence

from weightwright.rag.readable import readable

_CODE = re.compile(
    r"(?P<word>(?<!^)\b[A-Z][\w-]+(?= \d)|\b[A-Za-z]{3,}(?<!\bfor)(?= [B-HJ-Z]\b)|[\u4e00-\u9fff]{2}(?=\d)) ?"
    r"(?P<code>\d{1,4}(?:\.\d{1,3})?(?![\dA-Za-z%％:]|[.,]\d|\s?[年月日号点时分秒个名位人元米层楼岁])|[B-HJ-Z](?![\w.'’-]))"
)
_MONTHS_TEXT = "January February March April May June July August September October November December"
_MONTHS = frozenset(_MONTHS_TEXT.split())


def codes(question: str) -> list[tuple[str, str]]:
    """Words with the number or letter behind them that says which: `Fennick` and `16`; no months, no counts."""
    found = _CODE.finditer(readable(question))
    return [(match["word"], match["code"]) for match in found if match["word"] not in _MONTHS]


def knows(passages: Sequence[str], question: str) -> bool:
    """Whether the passages know each code of the question: a letter stands there, and so does a number.

    A number is missing only where its word stands with other ones (Fennick 14) and never with it.
    """
    text = readable("\n".join(passages))
    return all(_stands(word, code, text) for word, code in codes(question))


def _stands(word: str, code: str, text: str) -> bool:
    if code.isalpha():
        return bool(re.search(rf"(?<![\w-]){code}(?![\w-])", text))
    others = set(re.findall(rf"(?i:{re.escape(word)})[ -]?(\d+(?:\.\d{{1,3}})?)(?![\d%:]|[.,]\d)", text))
    return not others or code in others
