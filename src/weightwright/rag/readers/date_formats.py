"""Dates and durations of spreadsheet cells as their formats show them, with the eras of Japan."""

from datetime import datetime, timedelta

from weightwright.rag.readers.han_numbers import han_digits, han_number

Tokens = tuple[tuple[str, str], ...]

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_HAN_DAYS = {
    "zh": ("星期", "周", "一二三四五六日"), "ja": ("", "", "月火水木金土日"), "ko": ("", "", "월화수목금토일"),
}  # fmt: skip
_AFTER_DAY = {"zh": "", "ja": "曜日", "ko": "요일"}
_ERAS = ((datetime(2019, 5, 1), "令和", "令", "R"), (datetime(1989, 1, 8), "平成", "平", "H"),
         (datetime(1926, 12, 25), "昭和", "昭", "S"), (datetime(1912, 7, 30), "大正", "大", "T"),
         (datetime(1868, 1, 1), "明治", "明", "M"))  # fmt: skip
_SECONDS = {"h": 3600, "m": 60, "s": 1}
_LEAP_DAY = 60  # Excel's calendar has a 29 February 1900


def shown_date(days: float, tokens: Tokens, date1904: bool) -> str:
    """A day number and its fraction."""
    fine = any(kind == "second" for kind, _ in tokens)
    seconds = round(days * 86400, 3 if fine else 0)
    if not date1904 and days < _LEAP_DAY:
        seconds += 86400
    start = datetime(1904, 1, 1) if date1904 else datetime(1899, 12, 30)
    moment = start + timedelta(seconds=seconds)
    twelve = any(kind == "ampm" for kind, _ in tokens)
    country = _country(tokens)
    han = next((text for kind, text in tokens if kind == "dbnum"), "")
    has_era = any(kind == "date" and text[0] == "g" for kind, text in tokens)
    out: list[str] = []
    after_hours = False
    for place, (kind, text) in enumerate(tokens):
        if kind == "date":
            low = text.lower()
            minutes = low[0] == "m" and len(low) <= 2 and (after_hours or _before_seconds(tokens, place))
            if low[0] in "eg":
                said = _of_calendar(moment, low, country, has_era)
            else:
                said = _part(moment, low, minutes=minutes, twelve=twelve)
            out.append(_in_han(said, low, han))
            after_hours = low[0] == "h" or (after_hours and low[0] == "m" and not minutes)
        elif kind == "weekday":
            before, short, names = _HAN_DAYS[country or "zh"]
            name = names[moment.weekday()]
            out.append(f"{before}{name}{_AFTER_DAY[country or 'zh']}" if len(text) > 3 else f"{short}{name}")
        elif kind == "elapsed":
            whole = round(days * 86400, 3 if fine else 0)
            out.append(str(int(whole / _SECONDS[text[0]] + 1e-6)).rjust(len(text), "0"))
            after_hours = text[0] == "h"
        elif kind == "ampm":
            halves = ("上午", "下午") if "午" in text else ("A", "P") if len(text) == 3 else ("AM", "PM")
            out.append(halves[moment.hour >= 12])
        elif kind == "second":
            out.append(f".{moment.microsecond:06}"[: len(text)])
        elif kind in ("literal", "slash"):
            out.append(text)
    return " ".join("".join(out).split())


def _before_seconds(tokens: Tokens, place: int) -> bool:
    return next((text[0] in "sS" for kind, text in tokens[place + 1 :] if kind in ("date", "elapsed")), False)


def _country(tokens: Tokens) -> str:
    """Whose words a format asks for by the last byte of its language (MS-LCID): Chinese, Japanese, Korean."""
    code = next((text for kind, text in tokens if kind == "language"), "")[-2:]
    return {"04": "zh", "11": "ja", "12": "ko"}.get(code, "")


def _of_calendar(moment: datetime, text: str, country: str, has_era: bool) -> str:
    """`e` is the year of an era, or the year; `g` names the era."""
    era = next((era for era in _ERAS if moment >= era[0]), None) if has_era else None
    if text[0] == "g":
        names = era[1:] if era is not None and country != "zh" else ("", "", "")
        return names[{1: 2, 2: 1}.get(len(text), 0)]
    if era is not None and country != "zh":
        return f"{moment.year - era[0].year + 1:0{min(len(text), 2)}}"
    return str(moment.year)


def _in_han(said: str, text: str, form: str) -> str:
    """A year digit by digit, other parts counted."""
    if not form or not said.isdecimal():
        return said
    return han_digits(said, form) if text[0] in "ye" else han_number(int(said), form)


def _part(moment: datetime, text: str, *, minutes: bool, twelve: bool) -> str:
    if minutes:
        return f"{moment.minute:0{len(text)}}"
    count = len(text)
    match text[0]:
        case "y":
            return f"{moment.year:04}" if count > 2 else f"{moment.year % 100:02}"
        case "m" if count <= 2:
            return f"{moment.month:0{count}}"
        case "m":
            name = _MONTHS[moment.month - 1]
            return name[:3] if count == 3 else name[: 1 if count == 5 else 99]
        case "d":
            name = _DAYS[moment.weekday()]
            return f"{moment.day:0{count}}" if count <= 2 else name[:3] if count == 3 else name
        case "h":
            hour = (moment.hour % 12 or 12) if twelve else moment.hour
            return f"{hour:0{count}}"
        case "s":
            return f"{moment.second:0{count}}"
    return ""
