"""Dates, times of day and days of the week in English and Chinese texts. The order of 3/4/2024 is not guessed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weightwright.rag.numerals import UNITS, han
from weightwright.rag.units import WORD


@dataclass(frozen=True, slots=True)
class Date:
    """A date; what is not said is 0. `order` holds what 3/4/2024 writes where its order is not known."""

    year: int = 0
    month: int = 0
    day: int = 0
    order: tuple[int, int] = (0, 0)

    def within(self, other: "Date") -> bool:
        """Whether the other date says all that this one does."""
        return self.order == other.order and all(
            mine in (0, theirs)
            for mine, theirs in ((self.year, other.year), (self.month, other.month), (self.day, other.day))
        )


@dataclass(frozen=True, slots=True)
class Time:
    """Minutes after midnight, and whether morning or evening is said (21:00 says it, 9:00 and 9点 do not)."""

    minutes: float
    half_said: bool = True
    digital: bool = False

    def within(self, other: "Time") -> bool:
        """Whether the other time may be the same; where this one leaves open which half of the day, either is."""
        if self.minutes == other.minutes:
            return True
        either = not self.half_said and (not self.digital or (other.half_said and not other.digital))
        return either and (self.minutes - other.minutes) % 720 == 0


Moment = Date | Time | tuple[int, ...]  # days of the week, Monday 1
Found = tuple[int, int, Moment]

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH_NUMBERS = {name: n for n, name in enumerate(_MONTHS, 1)} | {
    name[:3]: n for n, name in enumerate(_MONTHS, 1)
}
_MONTH_NUMBERS |= {"sept": 9}
_NAMED = r"(?P<name>(?i:january|february|april|june|july|august|september|october|november|december)"
_NAMED += r"|March|May|march(?= \d)|may(?= \d)"
_NAMED += r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?)(?!\w)"
_ORDINAL_ONES = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]
_ORDINAL_TEENS = ["eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth"]
_DAYS = [*_ORDINAL_ONES, "tenth", *_ORDINAL_TEENS, "eighteenth", "nineteenth", "twentieth"]
_DAYS += [*(f"twenty-{one}" for one in _ORDINAL_ONES), "thirtieth", "thirty-first"]
_DAY = (
    rf"(?P<day>[0-3]?\d(?:st|nd|rd|th)?(?![\w:])|\b(?i:{'|'.join(sorted(_DAYS, key=len, reverse=True))})\b)"
)
_YEAR = r"(?P<year>1\d{3}|20\d{2}|21\d{2})(?!\d)"
_SHORT_YEAR = r"['’](?P<short>\d{2})(?!\d)"
_HAN_NUMBER = r"[零〇一二两三四五六七八九十\d]+"
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WEEKDAY = r"(?:(?i:monday|tuesday|wednesday|thursday|friday|saturday|sunday)s?"
_WEEKDAY += (
    r"|(?:Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri|Sat|Sun)(?:\.|(?=\s*[-–—:,/)|;&]|\s+(?:to|and|\d)|$)))(?!\w)"
)
_HAN_WEEKDAY = r"(?:星期|礼拜|周)[一二三四五六日天]"
_HAN_WEEKDAY += r"(?![次个年]|[十百千][一二三四五六七八九]?"
_HAN_WEEKDAY += r"(?:小时|天|分钟|元|人|次|个|米|公里|课时|节|篇|页|升|块|美|欧))"
_HAN_DAYS = {c: n for n, c in enumerate("一二三四五六日", 1)} | {"天": 7}
_DAY_RANGE = r"\s*(?:to|until|through|thru|-|–|—|至|到)\s*"
_PARTS = r"(?P<part>凌晨|清晨|早上|早晨|上午|中午|下午|傍晚|晚上|夜里|晚)?\s?"


def moments(text: str) -> Iterator[Found]:
    """Dates, times and weekdays with their ranges; those found first do not overlap later ones."""
    taken: list[tuple[int, int]] = []
    for pattern, read in _PATTERNS:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            moment = read(match)
            if moment is not None:
                taken.append(match.span())
                yield match.start(), match.end(), moment


def _ymd(match: re.Match[str]) -> Date | None:
    year, month, day = (int(match[i]) for i in (1, 2, 3))
    return Date(year, month, day) if month <= 12 and 1 <= day <= 31 else None


def _slashed(match: re.Match[str]) -> Date | None:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    year += _century(year)
    if match[2] == ".":
        return Date(year, second, first) if second <= 12 else None
    if first > 12 >= second:
        return Date(year, second, first)
    if second > 12 >= first:
        return Date(year, first, second)
    if first == second:
        return Date(year, first, second)
    return Date(year, order=(first, second)) if max(first, second) <= 12 else None


def _century(year: int) -> int:
    return 0 if year > 99 else 2000 if year < 50 else 1900


def _named(match: re.Match[str]) -> Date | None:
    parts = match.groupdict()
    day, short = _day(parts.get("day") or "0"), int(parts.get("short") or -1)
    year = int(parts.get("year") or 0) or (_century(short) + short if short >= 0 else 0)
    return Date(year, _MONTH_NUMBERS[match["name"].rstrip(".").lower()], day) if day <= 31 else None


def _day(written: str) -> int:
    digits = re.match(r"\d+", written)
    return int(digits[0]) if digits else _DAYS.index(written.lower()) + 1


def _chinese(match: re.Match[str]) -> Date | None:
    year, month, day = (_number(match[i]) for i in (1, 2, 3))
    return Date(year, month, day) if month <= 12 and day <= 31 else None


def _number(token: str | None) -> int:
    if not token:
        return 0
    return int(token) if token.isdigit() and token.isascii() else int(min(han(token)))


def _clock(match: re.Match[str]) -> Time | None:
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if hour > 24 or minute > 59:
        return None
    minutes = _half_day(hour, match[4]) * 60 + minute + second / 60
    return Time(minutes, half_said=bool(match[4]) or hour > 12, digital=not match[4])


def _half(match: re.Match[str]) -> Time | None:
    hour, minute = int(match[1]), int(match[2] or 0)
    return Time(_half_day(hour, match[3]) * 60 + minute) if hour <= 12 and minute < 60 else None


def _short_year(match: re.Match[str]) -> Date:
    short = int(match["short"])
    return Date(_century(short) + short)


def _half_day(hour: int, half: str | None) -> int:
    if not half:
        return hour
    return hour % 12 + (12 if half.lower()[0] == "p" else 0)


def _chinese_time(match: re.Match[str]) -> Time | None:
    hour = _number(match["hour"])
    rest = match["rest"] or ""
    minute = (
        30 if rest == "半" else 15 if rest == "一刻" else 45 if rest == "三刻" else _number(rest.rstrip("分"))
    )
    part = match["part"] or ""
    if hour > 24 or minute > 59 or (match["hour"] in ("一", "两") and not part and not rest):
        return None
    if re.fullmatch("[零〇]?[一二三四五六七八九]{1,9}", rest) and not (part and rest[0] in "零〇"):
        return None  # 三点五 is a number
    if part in ("下午", "傍晚", "晚上", "夜里", "晚") and 1 <= hour < 12:
        hour += 12
    return Time(hour * 60 + minute, half_said=bool(part) or hour > 12)


_MINUTES = [*UNITS[1:], "twenty", *(f"twenty-{one}" for one in UNITS[1:10])]
_PAST = {"half": 30, "quarter": 15, "five": 5, "ten": 10, "twenty": 20, "twenty-five": 25}
_HOURS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def _past(match: re.Match[str]) -> Time | None:
    """A quarter past six, half past 8, at ten to nine; not `from five to ten`."""
    sure = match["way"] == "past" or match["named"] or match["minutes"].lower() == "quarter"
    if not (sure or match.string[: match.start()].lower().endswith("at ")):
        return None
    written = match["hour"].lower()
    spoken = {"noon": 12, "midnight": 0}.get(written)
    hour = spoken if spoken is not None else _HOURS.index(written) + 1 if written in _HOURS else int(written)
    word = match["minutes"].lower()
    minutes = _PAST.get(word) or (_MINUTES.index(word) + 1 if word in _MINUTES else int(word))
    after = match["way"].lower() in ("past", "after")
    return Time(
        (hour * 60 + (minutes if after else -minutes)) % 1440, half_said=hour > 12 or spoken is not None
    )


def _spoken(match: re.Match[str]) -> Time:
    return Time(12 * 60 if match[0].lower() in ("noon", "midday", "正午") else 0)


def _weekdays(match: re.Match[str]) -> tuple[int, ...]:
    days = [_weekday(day) for day in match.groups() if day]
    if len(days) == 1:
        return (days[0],)
    first, last = days
    return tuple((first - 1 + n) % 7 + 1 for n in range((last - first) % 7 + 1))


def _weekday(name: str) -> int:
    if name[-1] in _HAN_DAYS:
        return _HAN_DAYS[name[-1]]
    return next(n for n, day in enumerate(_WEEKDAYS, 1) if day.startswith(name[:3].lower()))


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Moment | None]], ...] = (
    (re.compile(r"(?<![\d.])(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?![\d.]\d|\d)", re.ASCII), _ymd),
    (
        re.compile(r"(?<![\w.-])((?:19|20)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?!\w|\.\d)", re.ASCII),
        _ymd,
    ),
    (re.compile(r"(?<![\d./-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|(?<=/)\d{2})(?![\d/])", re.ASCII), _slashed),
    (
        re.compile(
            rf"(?:({_HAN_NUMBER})\s?年\s?)({_HAN_NUMBER})\s?月(?:份)?(?:\s?({_HAN_NUMBER})\s?[日号])?",
            re.ASCII,
        ),
        _chinese,
    ),
    (
        re.compile(
            rf"(?<![{'零〇一二三四五六七八九十'}\d])()({_HAN_NUMBER})\s?月(?:份)?(?:\s?({_HAN_NUMBER})\s?[日号])?",
            re.ASCII,
        ),
        _chinese,
    ),
    (re.compile(rf"(?<![\d.,]){_DAY}(?: of)? {_NAMED},?(?: {_YEAR})?", re.ASCII), _named),
    (re.compile(rf"(?<!\w){_NAMED} (?:the )?{_DAY}(?:,? (?:{_YEAR}|{_SHORT_YEAR}))?", re.ASCII), _named),
    (re.compile(rf"(?<!\w){_NAMED},? (?:of )?{_YEAR}", re.ASCII), _named),
    (re.compile(r"(?<![\w:.])(\d{1,2})h(\d{2})()()(?!\w)", re.ASCII), _clock),
    (re.compile(r"(?:(?<=\bin )|(?<=\bof ))['’](?P<short>\d{2})(?![\ds])()", re.ASCII), _short_year),
    (
        re.compile(
            r"(?P<part>凌晨|清晨|早上|早晨|上午|中午|下午|傍晚|晚上|夜里|晚)\s?(?P<hour>\d{1,2}):(?P<rest>\d{2})(?![\d:])",
            re.ASCII,
        ),
        _chinese_time,
    ),
    (
        re.compile(
            r"(?<![\w:.])(\d{1,2}):(\d{2})(?::(\d{2}))?(?![\d:])\s?([ap]\.? ?m\b\.?|[AP]\.? ?M\b\.?)?",
            re.ASCII,
        ),
        _clock,
    ),
    (
        re.compile(r"(?<![\w:.,])(\d{1,2})(?:[.](\d{2}))?\s?([ap]\.? ?m\b\.?|[AP]\.? ?M\b\.?)", re.ASCII),
        _half,
    ),
    (
        re.compile(
            rf"(?<!分之)(?<!分之零){_PARTS}(?P<hour>{_HAN_NUMBER})\s?(?:点钟?|时(?!间|候|代|期))(?P<rest>半|一刻|三刻"
            rf"|{_HAN_NUMBER}分?)?(?![个位\d])",
            re.ASCII,
        ),
        _chinese_time,
    ),
    (
        re.compile(
            rf"\b(?P<minutes>(?i:half|quarter|five|ten|twenty(?:-five)?|(?:{'|'.join(_MINUTES)})(?= minutes?))"
            r"|[12]?[05]|\d\d?(?= minutes?))"
            r"(?P<named> minutes?)? (?P<way>past|to|after) "
            rf"(?P<hour>(?i:{'|'.join(_HOURS)}|noon|midnight)|1?\d|2[0-3])(?![\w.,:%]\d|\w|[ -](?i:{WORD}))",
            re.ASCII,
        ),
        _past,
    ),
    (re.compile(r"(?<!\w)(?i:noon|midday|midnight)(?!\w)|正午|午夜", re.ASCII), _spoken),
    (
        re.compile(
            rf"(?<!\w)({_WEEKDAY})(?:{_DAY_RANGE}({_WEEKDAY}))?|({_HAN_WEEKDAY})(?:{_DAY_RANGE}({_HAN_WEEKDAY}))?",
            re.ASCII,
        ),
        _weekdays,
    ),
    (
        re.compile(
            rf"(?<!\w)(?!^(?:March|May)\b(?! (?:was|is|had|has|brought|saw|will|and|to)\b)){_NAMED}", re.ASCII
        ),
        _named,
    ),
)
