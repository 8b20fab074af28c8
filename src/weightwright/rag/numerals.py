"""Numerals as exact values: digits with both habits of separators, English and Chinese words, Roman numerals."""

import re
from fractions import Fraction

Values = frozenset[Fraction]

# --- digits -----------------------------------------------------------------------------------------

# 12,000  12 000  12.000  1'000  12,34,567  1.234,5  3.14  3,14  .5
DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]\d)|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?(?!\d)"
    r"|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?(?![\d.]\d)|\d{1,3}\.\d{3},\d+(?!\d)"
    r"|\d{1,3}(?:[' \u2019]\d{3})+(?:[.,]\d+)?(?!\d)"
    r"|\d+[.,]\d+(?![.,]?\d)|\d+|(?<![\w.])\.\d+)"
)


def digits(token: str) -> Values:
    """The values that a token of DIGITS may have; 1.609 is a decimal and a thousand, as habits differ."""
    if re.fullmatch(r"\d{1,3}(?:[' \u2019]\d{3})+(?:[.,]\d+)?", token):
        return _one(re.sub(r"[' \u2019]", "", token).replace(",", "."))
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?", token):
        return _one(token.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}\.\d{3},\d+", token):
        return _one(token.replace(".", "").replace(",", "."))
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", token):
        thousand = _one(token.replace(".", ""))
        return thousand if token.endswith(".000") else thousand | _one(token)
    return _one(token.replace(",", "."))


def _one(plain: str) -> Values:
    return frozenset((Fraction("0" + plain if plain.startswith(".") else plain),))


# --- English words ----------------------------------------------------------------------------------

UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = {
    "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
    "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30, "fortieth": 40,
    "fiftieth": 50, "sixtieth": 60, "seventieth": 70, "eightieth": 80, "ninetieth": 90, "hundredth": 100,
    "thousandth": 1000, "first": 1, "second": 2,
}  # fmt: skip
_SMALL = {word: n for n, word in enumerate(UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_SMALL |= {"dozen": 12}
SCALES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "lakh": 10**5, "crore": 10**7, "milliard": 10**9, "mn": 10**6, "bn": 10**9, "mio": 10**6, "tn": 10**12,
}  # fmt: skip
_WORD = "|".join(sorted([*_SMALL, *SCALES], key=len, reverse=True))
_ORDINAL = "|".join(sorted(_ORDINALS, key=len, reverse=True))
_JOINT = r"(?:(?:(?<=hundred)|(?<=thousand)|(?<=million)|(?<=billion))[ -]and[ -]|[ -])"
WORDS = (
    rf"\b(?:(?:half a[ -]|a[ -])?(?:{_WORD})(?:{_JOINT}(?:{_WORD}|{_ORDINAL})\b)*|(?:{_ORDINAL}))"
    rf"(?:[ -]and[ -]a[ -]half\b(?:[ ](?:{'|'.join(SCALES)})\b)?)?"
    r"(?:[ ]point(?:[ ](?:zero|one|two|three|four|five|six|seven|eight|nine))+\b)?(?![\w])"
)


def words(token: str) -> tuple[Values, bool]:
    """The values of English number words (small letters), and whether they end as an ordinal.

    `nineteen ninety-eight` is 1998.
    """
    half = re.search(r"[ -]and[ -]a[ -]half(?: (\w+))?$", token)
    token, _, decimals = token[: half.start() if half else None].partition(" point ")
    parts = [part for part in re.split(r"[ -]+", token) if part not in ("and", "a")]
    ordinal = parts[-1] in _ORDINALS
    numbers = [_number_word(part) for part in parts]
    value = _spoken_year(numbers) or _spoken(numbers)
    if half:
        value = (value + Fraction(1, 2)) * (SCALES[half[1]] if half[1] else 1)
    for place, word in enumerate(decimals.split(), 1):
        value += Fraction(_SMALL[word], 10**place)
    return frozenset((value,)), ordinal


def _number_word(word: str) -> Fraction:
    if word == "half":
        return Fraction(1, 2)
    for form in (word, word.removesuffix("s")):
        if form in _SMALL:
            return Fraction(_SMALL[form])
        if form in SCALES:
            return Fraction(SCALES[form])
    return Fraction(_ORDINALS[word])


def _spoken(numbers: list[Fraction]) -> Fraction:
    """Below a hundred is added, a scale multiplies what stands before it (`half a million`, too)."""
    total = group = Fraction(0)
    for number in numbers:
        if number == 12 and group and numbers[-1] == 12 and group < 12:
            group *= number  # two dozen
        elif number == 100:
            group = (group or Fraction(1)) * 100
        elif number >= 1000:
            total = total + (group or Fraction(1)) * number if group or not total else total * number
            group = Fraction(0)
        else:
            group += number
    return total + group


def _spoken_year(numbers: list[Fraction]) -> Fraction | None:
    if len(numbers) in (2, 3) and 10 <= numbers[0] <= 20 and all(n < 100 for n in numbers):
        rest = sum(numbers[1:], Fraction(0))
        if 10 <= rest < 100:
            return numbers[0] * 100 + rest
    return None


# --- Chinese words ----------------------------------------------------------------------------------

_HAN_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {
    c: n for n, c in enumerate("〇壹贰叁肆伍陆柒捌玖")
} | {"两": 2, "貳": 2, "俩": 2, "仨": 3}  # fmt: skip
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000}
_HAN_GROUPS = {"万": 10**4, "亿": 10**8, "兆": 10**12}
HAN_CHARACTERS = "".join([*_HAN_DIGITS, *_HAN_SCALES, *_HAN_GROUPS])
_HAN_SCALE = "".join([*_HAN_SCALES, *_HAN_GROUPS])
# 二十五  两万五  2万  3.5亿  3万5千  二〇一五
# 兆帕 and, behind 万 and 亿, 千米 are units
_MEGA = "兆(?![帕瓦赫焦欧伏字比])"
_HAN_ONE = (
    "(?:[" + re.sub("[兆千]", "", HAN_CHARACTERS) + f"]|{_MEGA}|千(?!(?<=[万亿]千)[米克瓦卡帕赫伏焦欧牛]))"
)
HAN = (
    rf"(?:{DIGITS} ?(?:[{_HAN_SCALE.replace('兆', '')}]|{_MEGA})(?:{_HAN_ONE}|\d)*"
    rf"|{_HAN_ONE}+(?:点[零〇一二三四五六七八九]+[万亿]*)?)"
)


def han(token: str) -> Values:
    """The values of a token of HAN; `一百二` is 120, `二〇一五` is 2015."""
    token, point, decimals = token.partition("点")
    if point:
        digits_only = decimals.rstrip("万亿")
        scale = Fraction(1)
        for character in decimals[len(digits_only) :]:
            scale *= _HAN_GROUPS[character]
        value = _han(token) + Fraction(
            int("".join(str(_HAN_DIGITS[c]) for c in digits_only)), 10 ** len(digits_only)
        )
        return frozenset((value * scale,))
    if len(token) > 1 and all(c in _HAN_DIGITS for c in token):
        return frozenset((Fraction(int("".join(str(_HAN_DIGITS[c]) for c in token))),))
    return frozenset((_han(token),))


def _han(token: str) -> Fraction:
    total = group = Fraction(0)
    number: Fraction | None = None
    last_scale, after_zero = Fraction(1), False
    for part in re.findall(rf"{DIGITS}|[{HAN_CHARACTERS}]", token):
        if part[0].isascii():
            number = min(digits(part))
        elif part in _HAN_DIGITS:
            after_zero |= part in "零〇"
            number = Fraction(_HAN_DIGITS[part])
        elif part in _HAN_SCALES:
            last_scale = Fraction(_HAN_SCALES[part])
            group += (Fraction(1) if number is None else number) * last_scale
            number, after_zero = None, False
        else:
            last_scale = Fraction(_HAN_GROUPS[part])
            group += number or 0
            total = (
                (total + (group or Fraction(0 if total else 1))) * last_scale
                if last_scale > 10**4 and total
                else (total + (group or Fraction(1)) * last_scale)
            )
            group, number, after_zero = Fraction(0), None, False
    if number is not None:
        trailing = last_scale >= 100 and not after_zero and token[-1] in _HAN_DIGITS
        group += number * last_scale / 10 if trailing else number
    return total + group


# --- Roman numerals ---------------------------------------------------------------------------------

ROMAN = r"(?=[IVXLC])(?:X[CL]|L?X{0,3})?(?:I[XV]|V?I{0,3})"
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}


def roman(token: str) -> Fraction:
    """The value of a Roman numeral."""
    values = [_ROMAN_VALUES[letter] for letter in token]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return Fraction(sum(-value if value < after else value for value, after in pairs))
