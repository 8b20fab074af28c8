"""Rates in texts: a month, per year, 每天, p.a., daily, of which a claim needs those beside a number."""

import re
from fractions import Fraction

from weightwright.rag import numerals, units
from weightwright.rag.quantity import Quantity

_RATE = re.compile(
    rf"\b(?P<per>(?i:per|each|every|a|an)|/)\s?(?P<unit>(?:{units.WORD}))"
    rf"|(?P<by>\bper |/)(?P<symbol>{units.SYMBOLS})(?!\w)"
    rf"|(?P<chinese_per>每|/)(?:自然|日历|财政|会计)?一?个?(?P<chinese>月|{units.CHINESE})|(?P<adverb>\b(?i:annual(?:ly)?"
    r"|yearly|quarterly|fortnightly|biweekly|monthly|weekly|daily|hourly)(?!\w))"
    r"|(?P<fee>[年月周日])(?=费|薪|租|均|产|发电|销量|销售|用量|耗|收入|营业额|营收|利率|降水|增长)",
    re.ASCII,
)
_TURNS = re.compile(r"\b(?i:once|twice|thrice)\s$")
_IN_ONE = re.compile(r"\b(?:[Ii]n|[Ww]ithin)\s$")
_COUNTED_BEFORE = re.compile(rf"(?:\d|(?i:{numerals.WORDS}))[^.;:!?]*[a-z] $")
_WHOLE = re.compile("[全一](?P<unit>年|月|周|天|日|小时)(?!前|后|半)")  # 全年30天, 一年30天: 30 days a year
_ADVERBS = {
    "annual": "year", "annually": "year", "yearly": "year", "quarterly": "quarter", "fortnightly": "fortnight",
    "biweekly": "fortnight",
    "monthly": "month", "weekly": "week", "daily": "day", "hourly": "hour",
}  # fmt: skip


def rates(text: str) -> list[Quantity]:
    """`a month`, `per year`, 每天: of what a claim says only those beside a number are needed."""
    found = [
        Quantity(
            whole.start(),
            whole.end(),
            rate=units.units({"月": "个月"}.get(whole["unit"], whole["unit"]))[0].name,
            required=False,
        )
        for whole in _WHOLE.finditer(text)
    ]
    for match in _RATE.finditer(text):
        written = (
            _ADVERBS.get((match["adverb"] or "").lower())
            or match["unit"]
            or match["symbol"]
            or match["chinese"]
            or match["fee"]
        )
        meant = units.units({"月": "个月"}.get(written, written))
        if not meant:
            continue
        unit = meant[0]
        base = unit.name
        article = (match["per"] or "").lower() in ("a", "an")
        beside = _TURNS.search(text[: match.start()]) is not None or (
            bool(re.search(r"[\d\w%€$£]\s*$", text[: match.start()]))
            and bool(re.search(r"\d|" + units.WORD, text[max(0, match.start() - 24) : match.start()]))
        )
        if article or (match["per"] or "").lower() == "every" or (match["chinese_per"] == "每"):
            readings = frozenset((unit.factor, unit.base) for unit in meant)
            needed = article and _IN_ONE.search(text[: match.start()]) is not None  # 12 puffs in a day
            found.append(
                Quantity(match.start(), match.end(), frozenset((Fraction(1),)), readings, required=needed)
            )
        if (
            article
            and not beside
            and _COUNTED_BEFORE.search(text[max(0, match.start() - 48) : match.start()])
        ):
            found.append(
                Quantity(match.start(), match.end(), rate=base, required=False)
            )  # 2,000 flowers a day
        if not article or beside:
            needed = not article or _behind_a_price(text[: match.start()])
            end = match.start() if match["fee"] or match["adverb"] else match.end()  # 年费 stays a word, too
            found.append(Quantity(match.start(), end, rate=base, required=needed))
    return found


def _behind_a_price(before: str) -> bool:
    return bool(
        re.search(r"(?:\d|euros?|dollars?|pounds?|times?|hours?|days?|EUR|USD|GBP|francs?)\s?$", before)
    )
