"""Numbers as text that keeps sign, decimal point and value: `1,000` is `1000`, `3.50` is `3.5`, `二十一` is `21`.

A token that is a number is compared by its value, as in DROP (Dua et al. 2019, arXiv 1903.00161); there and in SQuAD
the sign is lost and `10:30` becomes 1030, here not.
"""

import re
import unicodedata
from decimal import Context, Decimal
from math import prod

from weightwright.data.language import Language

CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
MINUS = "\x00"  # a number's sign until the end, when other dashes are gone
CURRENCY = "€£¥₩₹₽₺₫฿¢"

_SUPERSCRIPT = re.compile(r"(?<=\d)(?=[⁺⁻]?[⁰¹²³⁴-⁹])")
_VULGAR_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞↉])")
_GROUP_OF_THREE = re.compile(
    r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))|(?<=[０-９])，(?=[０-９]{3}(?![０-９]))"
)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[,'’]\d{2,3})*[,'’]\d{3}(?![,'’]?\d)")
_EXPONENT = re.compile(r"(?<=\d)e[-−](?=\d{1,3}(?![\w.]))")
# not after a letter or digit (`GPT-4`, `5-10`), nor in a Chinese range (`3月-5月`)
_SIGN = re.compile(
    rf"(?<![^\W{CJK}])(?<!\d[{CJK}])(?<!\d[{CJK}]{{2}})(?<![)\]}}%°])[-−–](?=[${CURRENCY}]?\.?\d)"
)
_SIGN_IN_WORDS = re.compile(rf"(?<!\d )\b(?:minus|negative)\s+(?=[${CURRENCY}]?\.?\d)")
_NUMBER = re.compile(rf"{MINUS}?(?:\d+(?:\.\d+)?|\.\d+)(?:e[+{MINUS}]?\d{{1,3}})?")
_PARTS = re.compile(r"(?<!\d)0+(?=\d)")

_DIGITS = "零一二三四五六七八九"
_OTHER_FORMS = str.maketrans(
    "〇壹贰貳两兩叁參肆伍陆陸柒捌玖拾佰仟萬億點負", "零一二二二二三三四五六六七八九十百千万亿点负"
)
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_CHINESE = re.compile(
    r"(?P<sign>负|零下)?(?:百分之)?"
    r"(?:(?P<parts>(?:\d+(?:\.\d+)?[百千万亿]+)+)"
    rf"|(?P<whole>[{_DIGITS}十百千万亿]+)(?:点(?P<point>[{_DIGITS}]+)(?![十百千万亿]))?|(?<=负|下|之)(?=\d))"
)


def plain(text: str, language: Language) -> str:
    """The text in NFKC, lower case and ASCII digits, its numbers without group marks, their signs as MINUS."""
    text = _GROUP_OF_THREE.sub("", text.replace(MINUS, " "))
    text = _SUPERSCRIPT.sub("^", _VULGAR_FRACTION.sub(" ", text)).replace("，", " ")
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2044", "/")
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = _GROUPED.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    text = _SIGN.sub(f" {MINUS}", _EXPONENT.sub(f"e{MINUS}", text))
    text = _SIGN_IN_WORDS.sub(MINUS, text)
    return _CHINESE.sub(_from_chinese, text.translate(_OTHER_FORMS)) if language == "zh" else text


def value_of(token: str) -> str:
    """A token that is a number (or a time, date or fraction) as its value is always written; others as they are."""
    if _NUMBER.fullmatch(token):
        value = Decimal(token.replace(MINUS, "-")).normalize(Context(prec=len(token) + 1))
        return format(value, "f") if value else "0"
    return _PARTS.sub("", token) if token[-1:].isdigit() and not token.isalnum() else token


def _from_chinese(match: re.Match[str]) -> str:
    """A Chinese numeral, or digits with 万 and the like, in digits."""
    sign = MINUS if match["sign"] else ""
    if match["whole"]:
        point = "." + "".join(str(_DIGITS.index(c)) for c in match["point"]) if match["point"] else ""
        return f" {sign}{_whole(match['whole'])}{point} "
    parts = re.findall(r"([\d.]+)(\D+)", match["parts"] or "")  # 3亿5千万
    total = sum(prod(_UNITS[unit] for unit in units) * Decimal(value) for value, units in parts)
    return f" {sign}{total:f} " if parts else f" {sign}"


def _whole(numeral: str) -> str:
    """`二十一` → 21, `一九九八` → 1998 (read digit by digit), `三万五` → 35000 (the next lower unit is left out)."""
    if not set(numeral) - set(_DIGITS):
        return "".join(str(_DIGITS.index(c)) for c in numeral)
    total = section = digit = last_unit = 0
    for character in numeral:
        if character in _DIGITS:
            digit = _DIGITS.index(character)
            last_unit = last_unit if digit else 0
        elif (last_unit := _UNITS[character]) <= 1000:
            section, digit = section + (digit or 1) * last_unit, 0
        else:
            section += digit
            above = (
                total if section and total >= last_unit else 0
            )  # 一亿二千万: what stands above is not multiplied
            total, section, digit = above + ((total - above + section) or 1) * last_unit, 0, 0
    return str(total + section + digit * max(1, last_unit // 10))
