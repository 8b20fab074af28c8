"""Numbers of spreadsheet cells as their number formats show them (ECMA-376 Part 1, 18.8.30 and 18.8.31)."""

import operator
import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

from weightwright.rag.readers.date_formats import Tokens, shown_date
from weightwright.rag.readers.han_numbers import han_digits, han_number

# what Excel writes no code for; the forms that depend on a user's country are written as ISO 8601
BUILT_IN = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00",
    12: "# ?/?", 13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0", 38: "#,##0",
    39: "#,##0.00", 40: "#,##0.00", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd"),
    **dict.fromkeys((32, 33, 34, 35, 55, 56), "h:mm:ss"),
}  # fmt: skip
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|_.|\*.|\[(?P<bracket>[^\]]*)\]|(?P<ampm>AM/PM|A/P|上午/下午)'
    r"|(?P<date>[yY]+|[mM]+|[dD]+|[hH]+|[sS]+|e+|g+)|(?P<weekday>a{3,4})|(?P<second>(?<=[sS])\.0+)|(?P<exponent>[eE][+-]0+)"
    r"|(?P<number>[0#?][0#?,.]*|\.[0#?]+)|(?P<percent>%)|(?P<general>General)|(?P<slash>/)|(?P<text>@)|(?P<other>.)",
    re.DOTALL,
)
_ELAPSED = re.compile(r"[hH]+|[mM]+|[sS]+")
_CONDITION = re.compile(r"\[(<=|>=|<>|<|>|=)(-?[\d.]+)\]")
_COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "<>": operator.ne,
}  # fmt: skip
_GENERAL_DIGITS = 11
_EXACT_DIGITS = 18
_PART_OF_TEXTS = 3
_LAST_DAY = 2_958_466  # 9999-12-31


def shown_number(value: str, code: str, *, date1904: bool = False) -> str:
    """A stored number as its format shows it; as it is stored where it is none."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    if not number.is_finite():
        return value
    section, minus = _section(code, number)
    tokens = _tokens(section)
    kinds = {kind for kind, _ in tokens}
    if kinds & {"date", "elapsed", "weekday"}:
        return shown_date(float(number), tokens, date1904) if 0 <= number < _LAST_DAY else _general(number)
    if not kinds & {"number", "general", "text"}:
        literal = "".join(text for kind, text in tokens if kind == "literal")
        return literal if tokens else ""
    return minus + _number(abs(number), tokens)


def shown_text(text: str, code: str) -> str:
    """A text as its format shows it: the fourth part is that of texts, or the only one that has an `@`."""
    sections = _sections(code) if "@" in code or code.count(";") >= _PART_OF_TEXTS else ()
    part = (
        sections[_PART_OF_TEXTS]
        if len(sections) > _PART_OF_TEXTS
        else sections[0]
        if len(sections) == 1
        else "@"
    )
    if part.strip() in ("@", "General"):
        return text
    return "".join(
        text if kind == "text" else said for kind, said in _tokens(part) if kind in ("literal", "text")
    ).strip()


def _section(code: str, number: Decimal) -> tuple[str, str]:
    """The part of a format for a number, and the sign that it does not write itself."""
    sections = _sections(code)
    minus = "-" if number < 0 else ""
    if any(_CONDITION.search(section) for section in sections[:3]):
        return _by_condition(sections, number)
    if len(sections) >= 3 and number == 0:
        return sections[2], ""
    if len(sections) >= 2 and number < 0:
        return sections[1], ""
    return sections[0], minus


def _by_condition(sections: tuple[str, ...], number: Decimal) -> tuple[str, str]:
    """The first part whose condition holds, or that has none."""
    for section in sections[:3]:
        found = _CONDITION.search(section)
        if found is None or _COMPARE[found[1]](number, Decimal(found[2])):
            below_zero = found is not None and found[1] in ("<", "<=") and Decimal(found[2]) <= 0
            return section, "-" if number < 0 and not below_zero else ""
    return "General", "-" if number < 0 else ""


@lru_cache(maxsize=512)
def _sections(code: str) -> tuple[str, ...]:
    sections, begin = [], 0
    for match in re.finditer(r'"[^"]*"|\\.|\[[^\]]*\]|(;)', code):
        if match[1]:
            sections.append(code[begin : match.start()])
            begin = match.end()
    return (*sections, code[begin:] or ("" if sections else "General"))


@lru_cache(maxsize=512)
def _tokens(section: str) -> Tokens:
    """Kinds and texts.

    They are literal, number, percent, exponent, general, date, weekday, elapsed, ampm, second, slash, text, dbnum,
    language.
    """
    tokens: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(section):
        kind, text = match.lastgroup, match[match.lastgroup] if match.lastgroup else ""
        if kind is None:
            tokens.append(("literal", " "))
        elif kind == "bracket":
            if text.startswith("$"):
                sign, _, language = text[1:].partition("-")
                tokens += [("literal", sign), ("language", language)]
            elif text.startswith("DBNum"):
                tokens.append(("dbnum", text[5:6] if text[5:6] in ("1", "2", "3") else "1"))
            elif _ELAPSED.fullmatch(text):
                tokens.append(("elapsed", text.lower()))
        elif kind in ("quoted", "escaped", "other"):
            tokens.append(("literal", text))
        else:
            tokens.append((kind, text))
    return tuple(tokens)


# --- numbers ------------------------------------------------------------------------------------------


def _number(number: Decimal, tokens: Tokens) -> str:
    number *= 100 ** sum(kind == "percent" for kind, _ in tokens)
    if any(kind == "slash" for kind, _ in tokens):
        return _fraction(number, tokens)
    exponent = next((text for kind, text in tokens if kind == "exponent"), None)
    patterns = [text for kind, text in tokens if kind == "number"]
    scale = len(patterns[-1]) - len(patterns[-1].rstrip(",")) if patterns else 0
    power = 0
    if exponent is not None and number:
        step = max(1, len(patterns[0].partition(".")[0])) if patterns else 1
        power = number.adjusted() // step * step  # ##0.0E+0 shows powers of a thousand
        number = number.scaleb(-power)
    pattern = "".join(patterns)
    if len(patterns) > 1 and exponent is None and not set(pattern) & set(".,"):
        return _spread(number, pattern, tokens)
    digits = _fixed(number / 1000**scale, pattern.rstrip(",")) if patterns else ""
    pieces = iter(_pieces(digits, patterns))
    out = []
    for kind, text in tokens:
        if kind == "number":
            out.append(next(pieces))
        elif kind == "exponent":
            sign = "-" if power < 0 else "+" if "+" in text else ""
            out.append(f"E{sign}{abs(power):0{len(text) - 2}}")
        elif kind in ("general", "text"):
            out.append(_general(number))
        else:
            out.append("" if kind in ("dbnum", "language") else "%" if kind == "percent" else text)
    return _with_han(" ".join("".join(out).split()), number, tokens)


def _pieces(digits: str, patterns: list[str]) -> list[str]:
    """Digits for each of a format's patterns: those of `0" dollars" .00` are parted before the point."""
    parted = len(patterns) == 2 and patterns[1].startswith(".") and "." not in patterns[0]
    if not parted:
        return [digits, *[""] * (len(patterns) - 1)]
    whole, point, decimals = digits.partition(".")
    return [whole, point + decimals]


def _with_han(shown: str, number: Decimal, tokens: Tokens) -> str:
    """A number in Chinese characters, where the format asks for them: counted where it has no other form."""
    form = next((text for kind, text in tokens if kind == "dbnum"), "")
    if not form:
        return shown
    if any(kind == "general" for kind, _ in tokens) and number == number.to_integral_value():
        return shown.replace(_general(number), han_number(int(number), form))
    return han_digits(shown, form)


def _spread(number: Decimal, pattern: str, tokens: Tokens) -> str:
    """Digits between other characters, as in a telephone number."""
    digits = _fixed(number, pattern).rjust(len(pattern))
    out, rest = [], len(digits)
    for kind, text in reversed(tokens):
        if kind == "number":
            first = rest - len(text) if pattern[: -len(text)] else 0
            pattern = pattern[: -len(text)]
            out.append(digits[first:rest].strip())
            rest = first
        else:
            out.append("" if kind in ("dbnum", "language") else "%" if kind == "percent" else text)
    return "".join(reversed(out)).strip()


def _fixed(number: Decimal, pattern: str) -> str:
    whole, _, part = pattern.partition(".")
    most, least = len(part), len(part.rstrip("#?"))
    rounded = number.quantize(Decimal(1).scaleb(-most), ROUND_HALF_UP) if number.adjusted() < 25 else number
    digits, _, decimals = f"{rounded:f}".partition(".")
    bare = whole.replace(",", "")
    least_whole = len(bare) - bare.index("0") if "0" in bare else 0  # `0#` shows two digits, as `00` does
    digits = digits.lstrip("0").rjust(least_whole, "0")
    if "," in whole and digits.isdecimal():
        digits = (
            f"{digits[: len(digits) % 3]},{','.join(re.findall('...', digits[len(digits) % 3 :]))}".strip(",")
        )
    while len(decimals) > least and decimals.endswith("0"):
        decimals = decimals[:-1]
    return f"{digits or ('0' if not decimals and '0' in whole else '')}" + (
        f".{decimals}" if decimals else ""
    )


def _fraction(number: Decimal, tokens: Tokens) -> str:
    from fractions import Fraction

    slash = next(place for place, (kind, _) in enumerate(tokens) if kind == "slash")
    below = "".join(text for kind, text in tokens[slash:] if kind == "number" or text.isdecimal()) or "?"
    whole, rest = divmod(Fraction(number), 1)
    if below.strip("0").isdecimal():  # eighths stay eighths
        above = round(rest * int(below))
        return f"{whole} {above}/{below}" if whole and above else f"{above}/{below}" if above else str(whole)
    part = rest.limit_denominator(10 ** len(below) - 1)
    if part == 0:
        return str(whole)
    if part == 1:
        return str(whole + 1)
    return f"{whole} {part}" if whole else str(part)


def _general(number: Decimal) -> str:
    """Eleven digits at most, as a cell without a format shows them.

    Whole numbers to eighteen: those of orders, cards and persons, which Excel shows whole in its formula bar.
    """
    if number == number.to_integral_value() and number.adjusted() < _EXACT_DIGITS:
        return f"{number:.0f}"
    if number and not -10 <= number.adjusted() <= _GENERAL_DIGITS - 1:
        mantissa = f"{number:.5E}"
        digits, _, power = mantissa.partition("E")
        return f"{digits.rstrip('0').rstrip('.')}E{power}"
    left = max(0, _GENERAL_DIGITS - 1 - max(0, number.adjusted()))
    text = f"{round(number, left):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
