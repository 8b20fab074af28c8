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
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_HAN = re.compile(f"[{HAN}]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_APART = re.compile("(?=[¼-¾⅐-⅞])|(?<=[0-9])(?=[⁰¹²³⁴-⁹])")


def visible(text: str) -> str:
    """Without terminal colours and characters that take no room; radicals as ideographs; narrow forms (NFKC).

    6½ stays two numbers, and so does 10⁶.
    """
    if text.isascii():
        return _ESCAPES.sub("", text) if "\x1b" in text else text
    text = _INVISIBLE.sub("", _ESCAPES.sub("", text)).translate(_UNIFIED)
    return unicodedata.normalize("NFKC", _APART.sub(" ", text))


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
