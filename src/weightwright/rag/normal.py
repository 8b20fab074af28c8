"""Text as terms and checks read it: one character for one thing, whatever a file writes in its place.

Radicals become the ideographs that they are printed for, characters that nobody sees go, so do the colours
of logs, full-width forms become narrow, exponents stand apart from their base, Traditional Chinese becomes
Simplified. The result is for comparing only; ranges and quotes are of the text itself.
"""

import re
import unicodedata
from functools import cache
from typing import Any

# Equivalent_Unified_Ideograph of the radicals and strokes that NFKC leaves (Unicode 13)
_RADICALS = (
    "⺁⺂⺃⺄⺅⺆⺇⺈⺉⺊⺋⺌⺍⺎⺏⺐⺑⺒⺓⺔⺕⺖⺗⺘⺙⺛⺜⺝⺞⺟⺠⺡⺢⺣⺤⺥⺦⺧⺨⺩⺪⺫⺬⺭⺮⺯⺰⺱⺲⺳⺴⺵⺶⺷⺸⺹⺺⺻⺼⺽"
    "⺾⺿⻀⻁⻂⻃⻄⻅⻆⻇⻈⻉⻊⻋⻌⻍⻎⻏⻐⻑⻒⻓⻔⻕⻖⻗⻘⻙⻚⻛⻜⻝⻞⻟⻠⻡⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲⻳㇆㇏㇐㇑㇒㇓"
    "㇔㇕㇖㇗㇘㇙㇚㇛㇜㇝㇞㇟㇠㇡"
)
_IDEOGRAPHS = (
    "厂乛乚乙亻冂𠘨刀刂卜㔾小小兀尣尢𡯂巳幺彑彐忄心扌攵旡日月歺母民氵氺灬爫爫丬牛犭王𤴔目示礻𥫗糹纟罓罒㓁冗𦉫羊𦍌𦍋耂肀聿肉𦥑"
    "艹艹艹虎衤覀西见角𧢲讠贝𧾷车辶辶辶邑钅長镸长门𨸏阝雨青韦页风飞食𩙿飠饣𩠐马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀龟𠃌乀一丨丿丿"
    "丶𠃍乛𠃊𠃎𠄌亅𡿨𠃋乀𠃑乚乙𠄎"
)
_UNIFIED = str.maketrans(_RADICALS, _IDEOGRAPHS)
# scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer; and Hangul, whose words take endings
HANGUL = "\uac00-\ud7a3"
UNSPACED = "\u0e00-\u0e4e\u0e80-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u1089\u1780-\u17d3\u17dd"
# marks that belong to the letter before them (vowel signs of India's scripts, accents)
MARKS = "".join(
    chr(code)
    for code in (
        *range(0x300, 0x370),
        *range(0x483, 0x488),
        *range(0x591, 0x1200),
        *range(0x1700, 0x1E00),
        *range(0xA800, 0xAC00),
    )
    if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_HAN = re.compile(f"[{HAN}]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# digits that NFKC would glue to those beside them: 6½, 10⁶, ①②③, ⑴⑵
_APART = re.compile("(?=[¼-¾⅐-⅞①-⓿❶-➓])|(?<=[①-⓿❶-➓])(?=[0-9])|(?<=[0-9])(?=[⁰¹²³⁴-⁹])")
# 12 000 with a space that does not break (U+00A0, U+2009, U+202F) is one number
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\d)", re.ASCII)
_UNFOLDED = str.maketrans(
    {"ß": "ss", "ẞ": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i",
     "ħ": "h", "ς": "σ", "ё": "е"}
)  # fmt: skip
# accents of Latin and Greek letters; the vowel signs of Arabic and Hebrew, which few write
_ACCENTS = re.compile("[\u0300-\u036f]+")
_VOWEL_SIGNS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0640]+"
)
_CYRILLIC = re.compile("[\u0400-\u052f]")


def visible(text: str) -> str:
    """Without terminal colours and characters that take no room; radicals as ideographs; narrow forms (NFKC).

    6½ stays two numbers, and so does 10⁶.
    """
    if text.isascii():
        return _ESCAPES.sub("", text) if "\x1b" in text else text
    text = _INVISIBLE.sub("", _ESCAPES.sub("", text)).translate(_UNIFIED)
    text = _GROUPS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    return unicodedata.normalize("NFKC", _APART.sub(" ", text))


def folded(word: str) -> str:
    """A word in small letters without accents and vowel signs: cafe, strasse, istanbul; й stays itself."""
    if word.isascii():
        return word
    plain = _VOWEL_SIGNS.sub("", word).translate(_UNFOLDED)
    if _CYRILLIC.search(plain):
        return plain
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", plain)))


def simplified(text: str) -> str:
    """Traditional Chinese characters as Simplified ones, by OpenCC; other text as it is."""
    if text.isascii() or not _HAN.search(text):
        return text
    converted: str = _opencc().convert(text)
    return converted


@cache
def _opencc() -> Any:
    import opencc

    return opencc.OpenCC("t2s")
