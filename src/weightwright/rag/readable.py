"""A text as numbers, names and words are looked for in it: one writing for what files and people write in several.

The result is for comparing only; ranges and quotes are of the text itself.
"""

import re
from decimal import Decimal
from fractions import Fraction

from weightwright.rag import numerals
from weightwright.rag.normal import HAN, simplified, visible

_POWER = re.compile(
    r"(?:(?P<factor>\d+(?:\.\d+)?)\s?[×x·*]\s?)?\b10(?P<sign>[⁻⁺]?)(?P<power>[⁰¹²³⁴-⁹]{1,2})"
    r"|(?<![\w.])(?P<mantissa>\d+(?:\.\d+)?)[eE](?P<exponent>[-+−]?\d{1,2})(?![\w.])",
    re.ASCII,
)
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
# words that a file cut at its lines' ends, and lines that end inside a sentence
_CUT_WORD = re.compile(r"(?<=[a-z])(?<!ty)-[ \t]*\n[ \t]*(?=[a-z])|(?<=ty-)[ \t]*\n[ \t]*(?=[a-z])")
_CUT_LINE = re.compile(r"(?<=[^\W_,])[ \t]*\n[ \t]*(?=[^\W_])")
# 每小时50公里, 时速50公里 as 50公里/小时
_SPEED = re.compile(
    rf"(?:每(?P<time>小时|秒|分钟)|(?P<speed>时速))(?P<verb>[^\d，。；、每]{{0,6}}?)\s?(?P<number>{numerals.HAN}|{numerals.DIGITS})\s?"
    r"(?P<unit>公里|千米|英里|米)(?![/每])"
)
_NUMERAL = rf"(?:{numerals.HAN}|{numerals.DIGITS})"
# 3比1 as 3:1
_SCORE = re.compile(rf"(?<![\w一二三四五六七八九十])(?P<one>{_NUMERAL})比(?P<other>{_NUMERAL})(?![\w.])|"
                    rf"(?<=[\u4e00-\u9fff])(?P<by>{_NUMERAL})比(?P<to>{_NUMERAL})(?![例较如])")  # fmt: skip
_IN_BRACKETS = re.compile(r"\((\d[\d.,]*)\)(?= (?:thousand|million|billion)\b)")
_SHORTENED = (
    (re.compile("廿"), "二十"),
    (re.compile("卅"), "三十"),
    (re.compile("一战"), "第一次世界大战"),
    (re.compile("二战"), "第二次世界大战"),
    (re.compile("头一(?=[年天次个回月周])"), "第一"),
    (re.compile("首(?=个?小时)"), "一"),
    (re.compile("首(?=[次日届批位个年月周季轮期版班局场名剂针款条辆架艘任])"), "第一"),
    (re.compile("[次翌](?=[日年月](?![数均]))"), "第二"),
    (re.compile("半价|对折"), "五折"),
)
_AGES = re.compile(r"\b([Uu]nder|[Oo]ver)-(\d+)s\b")
_YEARLY = re.compile(r"\bp\.\s?a\.(?!\w)")
_WEEKDAY_LIST = re.compile(
    "((?:周|星期|礼拜)[一二三四五六][、和及])(?=[一二三四五六日天](?:[、和及，。；]|[^个十百千月]))"
)  # 周一、三、五
_HAN_LETTER = re.compile(f"[{HAN}]")


def readable(text: str) -> str:
    """The text in the writings that `quantities`, `names` and `denial` read."""
    plain = simplified(visible(_POWER.sub(_power, text)))
    if plain.count(",") > 1:
        plain = _fields_apart(plain)
    if "\n" in plain:
        plain = _CUT_LINE.sub(_joined_lines, _CUT_WORD.sub("", plain))
    if "(" in plain:
        plain = _IN_BRACKETS.sub(r"\1", plain)
    plain = _AGES.sub(r"\1 \2", _YEARLY.sub("per annum", plain))
    if plain.isascii():
        return plain
    while _WEEKDAY_LIST.search(plain):
        plain = _WEEKDAY_LIST.sub(r"\1周", plain)
    plain = _SPEED.sub(_speed, plain)
    plain = _SCORE.sub(_score, plain)
    for short, long in _SHORTENED:
        plain = short.sub(long, plain)
    return plain


def _power(match: re.Match[str]) -> str:
    """10⁶ and 1.6e-19 in plain digits."""
    if match["mantissa"]:
        power, factor = int(match["exponent"].replace("−", "-")), match["mantissa"]
    else:
        power = int(match["power"].translate(_PLAIN_DIGITS)) * (-1 if match["sign"] == "⁻" else 1)
        factor = match["factor"] or "1"
    if abs(power) > 40:
        return match[0]
    value = Fraction(factor) * Fraction(10) ** power
    return str(value.numerator) if value.denominator == 1 else f"{Decimal(factor).scaleb(power):f}"


def _speed(match: re.Match[str]) -> str:
    of = "时速" if match["speed"] else ""
    length = (match["number"] + match["unit"]).replace("千米", "公里")
    return f"{of}{match['verb']}{length}/{match['time'] or '小时'}"


def _score(match: re.Match[str]) -> str:
    sides = (match["one"] or match["by"], match["other"] or match["to"])
    values = [
        min(numerals.han(side) if _HAN_LETTER.search(side) else numerals.digits(side)) for side in sides
    ]
    return ":".join(str(value) for value in values) if all(v.denominator == 1 for v in values) else match[0]


def _joined_lines(match: re.Match[str]) -> str:
    """Nothing where Chinese is cut, a space elsewhere."""
    text = match.string
    around = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
    return "" if any(character >= "\u2e80" for character in around) else " "


_ROW = re.compile(r"^(?=[^\n]*(?:[^\W\d_],|,[^\W\d_]))[^,\n]*(?:,(?=[^\s,])[^,\n]*){2,}$", re.MULTILINE)
_NUMBER_FIELD = re.compile(
    r"((?:^|(?<=,))(?:[A-Za-z][\w .-]*)?\d+(?:\.\d+)?),(?=\d+(?:\.\d+)?(?:,|$))", re.ASCII
)


def _fields_apart(text: str) -> str:
    """Numbers beside each other in a comma-separated row: 540,200 are two."""
    return _ROW.sub(lambda row: _NUMBER_FIELD.sub(r"\1, ", row[0]), text)
