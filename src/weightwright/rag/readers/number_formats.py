"""Numbers of spreadsheet cells as their number formats show them (ECMA-376 Part 1, 18.8.30 and 18.8.31)."""

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

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
    r"|(?P<date>[yY]+|[mM]+|[dD]+|[hH]+|[sS]+|e+|g+)|(?P<second>(?<=[sS])\.0+)|(?P<exponent>[eE][+-]0+)"
    r"|(?P<number>[0#?][0#?,.]*|\.[0#?]+)|(?P<percent>%)|(?P<general>General)|(?P<slash>/)|(?P<text>@)|(?P<other>.)",
    re.DOTALL,
)
_ELAPSED = re.compile(r"[hH]+|[mM]+|[sS]+")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_GENERAL_DIGITS = 11
_EXACT_DIGITS = 15
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
    if "date" in kinds or "elapsed" in kinds:
        return _date(number, tokens, date1904) if 0 <= number < _LAST_DAY else _general(number)
    if not kinds & {"number", "general", "text"}:
        literal = "".join(text for kind, text in tokens if kind == "literal")
        return literal if tokens else ""
    return minus + _number(abs(number), tokens)


def _section(code: str, number: Decimal) -> tuple[str, str]:
    """The part of a format for a number, and the sign that it does not write itself."""
    sections = _sections(code)
    minus = "-" if number < 0 else ""
    if len(sections) >= 3 and number == 0:
        return sections[2], ""
    if len(sections) >= 2 and number < 0:
        return sections[1], ""
    return sections[0], minus


@lru_cache(maxsize=512)
def _sections(code: str) -> tuple[str, ...]:
    sections, begin = [], 0
    for match in re.finditer(r'"[^"]*"|\\.|\[[^\]]*\]|(;)', code):
        if match[1]:
            sections.append(code[begin : match.start()])
            begin = match.end()
    return (*sections, code[begin:] or ("" if sections else "General"))


@lru_cache(maxsize=512)
def _tokens(section: str) -> tuple[tuple[str, str], ...]:
    """Kinds and texts: literal, number, percent, exponent, general, date, elapsed, ampm, second, slash, text."""
    tokens: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(section):
        kind, text = match.lastgroup, match[match.lastgroup] if match.lastgroup else ""
        if kind is None:
            tokens.append(("literal", " "))
        elif kind == "bracket":
            if text.startswith("$"):
                tokens.append(("literal", text[1:].split("-")[0]))
            elif _ELAPSED.fullmatch(text):
                tokens.append(("elapsed", text.lower()))
        elif kind in ("quoted", "escaped", "other"):
            tokens.append(("literal", text))
        else:
            tokens.append((kind, text))
    return tuple(tokens)


# --- numbers ------------------------------------------------------------------------------------------


def _number(number: Decimal, tokens: tuple[tuple[str, str], ...]) -> str:
    number *= 100 ** sum(kind == "percent" for kind, _ in tokens)
    if any(kind == "slash" for kind, _ in tokens):
        return _fraction(number, tokens)
    exponent = next((text for kind, text in tokens if kind == "exponent"), None)
    patterns = [text for kind, text in tokens if kind == "number"]
    scale = len(patterns[-1]) - len(patterns[-1].rstrip(",")) if patterns else 0
    power = 0
    if exponent is not None and number:
        power = number.adjusted()
        number = number.scaleb(-power)
    pattern = "".join(patterns)
    if len(patterns) > 1 and exponent is None and not set(pattern) & set(".,"):
        return _spread(number, pattern, tokens)
    digits = _fixed(number / 1000**scale, pattern.rstrip(",")) if patterns else ""
    out, written = [], False
    for kind, text in tokens:
        if kind == "number":
            out.append("" if written else digits)
            written = True
        elif kind == "exponent":
            sign = "-" if power < 0 else "+" if "+" in text else ""
            out.append(f"E{sign}{abs(power):0{len(text) - 2}}")
        elif kind in ("general", "text"):
            out.append(_general(number))
        else:
            out.append("%" if kind == "percent" else text)
    return " ".join("".join(out).split())


def _spread(number: Decimal, pattern: str, tokens: tuple[tuple[str, str], ...]) -> str:
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
            out.append("%" if kind == "percent" else text)
    return "".join(reversed(out)).strip()


def _fixed(number: Decimal, pattern: str) -> str:
    whole, _, part = pattern.partition(".")
    most, least = len(part), part.rstrip("#").count("0") + part.rstrip("#").count("?")
    rounded = number.quantize(Decimal(1).scaleb(-most), ROUND_HALF_UP) if number.adjusted() < 25 else number
    digits, _, decimals = f"{rounded:f}".partition(".")
    digits = digits.lstrip("0").rjust(whole.count("0"), "0")
    if "," in whole and digits.isdecimal():
        digits = f"{int(digits):,}" if len(digits) <= 30 and whole.count("0") < 4 else digits
    while len(decimals) > least and decimals.endswith("0"):
        decimals = decimals[:-1]
    return f"{digits or ('0' if not decimals and '0' in whole else '')}" + (
        f".{decimals}" if decimals else ""
    )


def _fraction(number: Decimal, tokens: tuple[tuple[str, str], ...]) -> str:
    from fractions import Fraction

    below = [text for kind, text in tokens if kind == "number"][-1]
    whole, rest = divmod(Fraction(number), 1)
    part = rest.limit_denominator(int(below) if below.isdecimal() and int(below) else 10 ** len(below) - 1)
    if part == 0:
        return str(whole)
    if part == 1:
        return str(whole + 1)
    return f"{whole} {part}" if whole else str(part)


def _general(number: Decimal) -> str:
    """Eleven digits at most, as a cell without a format shows them.

    Whole numbers to fifteen: they are orders' and telephones', which Excel shows whole in its formula bar.
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


# --- dates --------------------------------------------------------------------------------------------


def _date(number: Decimal, tokens: tuple[tuple[str, str], ...], date1904: bool) -> str:
    days = float(number)
    fine = any(kind == "second" for kind, _ in tokens)
    seconds = round(days * 86400, 3 if fine else 0)
    if not date1904 and days < 60:
        seconds += 86400  # Excel's calendar has a 29 February 1900
    start = datetime(1904, 1, 1) if date1904 else datetime(1899, 12, 30)
    moment = start + timedelta(seconds=seconds)
    twelve = any(kind == "ampm" for kind, _ in tokens)
    out: list[str] = []
    after_hours = False
    for place, (kind, text) in enumerate(tokens):
        if kind == "date":
            low = text.lower()
            minutes = low[0] == "m" and len(low) <= 2 and (after_hours or _before_seconds(tokens, place))
            out.append(_date_part(moment, low, minutes=minutes, twelve=twelve))
            after_hours = low[0] == "h" or (after_hours and low[0] == "m" and not minutes)
        elif kind == "elapsed":
            out.append(
                str(int(days * {"h": 24, "m": 1440, "s": 86400}[text[0]] + 1e-6)).rjust(len(text), "0")
            )
            after_hours = text[0] == "h"
        elif kind == "ampm":
            out.append("AM" if moment.hour < 12 else "PM")
        elif kind == "second":
            out.append(f".{moment.microsecond:06}"[: len(text)])
        elif kind in ("literal", "slash"):
            out.append(text)
    return " ".join("".join(out).split())


def _before_seconds(tokens: tuple[tuple[str, str], ...], place: int) -> bool:
    return next((text[0] in "sS" for kind, text in tokens[place + 1 :] if kind in ("date", "elapsed")), False)


def _date_part(moment: datetime, text: str, *, minutes: bool, twelve: bool) -> str:
    if minutes:
        return f"{moment.minute:0{len(text)}}"
    count = len(text)
    match text[0]:
        case "y" | "e":
            return f"{moment.year:04}" if count > 2 or text[0] == "e" else f"{moment.year % 100:02}"
        case "m":
            name = _MONTHS[moment.month - 1]
            return (
                f"{moment.month:0{count}}"
                if count <= 2
                else name[:3]
                if count == 3
                else name[: 1 if count == 5 else 99]
            )
        case "d":
            name = _DAYS[moment.weekday()]
            return f"{moment.day:0{count}}" if count <= 2 else name[:3] if count == 3 else name
        case "h":
            hour = (moment.hour % 12 or 12) if twelve else moment.hour
            return f"{hour:0{count}}"
        case "s":
            return f"{moment.second:0{count}}"
    return ""
