"""All that a text says in numbers: values with sign, unit and currency, dates, times, versions."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from weightwright.rag import numerals
from weightwright.rag.counted import numbers, rates
from weightwright.rag.dates import Date, moments
from weightwright.rag.normal import simplified, visible
from weightwright.rag.quantity import Quantity
from weightwright.rag.written import decades, fractions, multiples, quarters, scores, shares, versions


def readable(text: str) -> str:
    """The text as `quantities` reads it; ranges are of this."""
    plain = simplified(visible(_POWER.sub(_power, text)))
    plain = _AGES.sub(r"\1 \2", _CUT.sub("", plain))
    plain = _SPEED.sub(r"\g<number>\g<unit>/\g<time>", plain)
    for short, long in _SHORTENED.items():
        if short in plain:
            plain = plain.replace(short, long)
    return plain


def quantities(text: str) -> list[Quantity]:
    """All numbers of a `readable` text, in order."""
    found = [Quantity(start, end, moment=moment) for start, end, moment in moments(text)]
    for find in (shares, fractions, scores, versions, decades, quarters, multiples, numbers, rates):
        taken = [(q.start, q.end) for q in found]
        found += [q for q in find(text) if not any(q.start < end and start < q.end for start, end in taken)]
    found.sort(key=lambda quantity: quantity.start)
    return [_about(text, quantity) for quantity in _summed(text, _ranges(text, _dated(text, found)))]


def derived(text: str, found: Sequence[Quantity]) -> list[Quantity]:
    """Numbers that a source says without writing them: 120 of `half of the 240 people`, of 240人中有一半."""
    more = []
    for first, second in pairwise(found):
        between = text[first.end : second.start]
        part, whole = (first, second) if _OF.fullmatch(between) else (second, first)
        if part is second and not _AMONG.fullmatch(between):
            continue
        shares = [value for value, base in part.readings if base == "ratio"]
        if shares and whole.moment is None and "ratio" not in whole.bases:
            readings = frozenset((value * shares[0], base) for value, base in whole.readings)
            plain = frozenset(value * shares[0] for value in whole.plain)
            more.append(replace(whole, plain=plain, readings=readings, written=""))
    return more


# --- how exact a number is --------------------------------------------------------------------------

_OF = re.compile(r" ?(?:of )?(?:(?:the|its|all|their|our|these|those) )?(?:(?:[a-z]+ ){1,2}of )?", re.ASCII)
_AMONG = re.compile(r"[个名位人次]{0,2}[^，。；,;.\d]{0,8}(?:中|里|的)[^，。；,;.\d]{0,3}")
_ABOUT = re.compile(
    r"(?:\b(?P<about>about|around|roughly|approximately|some|circa|approx\.|ca\.)"
    r"|\b(?P<over>over|more than|above|upwards of)|\b(?P<under>nearly|almost|just under|close to)|(?P<sign>[~≈])"
    r"|(?P<han_about>约[有为合是达]?|大约[有为是]?|大概[有是]?)|(?P<han_over>超过|逾|多达|超)|(?P<han_under>近|将近|接近|不到))\s?$",
    re.IGNORECASE,
)
_FURTHEST = Fraction(1, 20)  # of its value: how far `about` reaches at most


def _about(text: str, quantity: Quantity) -> Quantity:
    """The number with how far it reaches: half of its last digit that is said, in the directions that are said."""
    said = _ABOUT.search(text[max(0, quantity.start - 16) : quantity.start])
    value = max(quantity.plain, default=Fraction(0))
    if said is None or value <= 0 or quantity.moment is not None or quantity.version:
        return quantity
    step = Fraction(10) ** _zeros(value)
    far = min(_FURTHEST, step / 2 / value)
    over, under = said["over"] or said["han_over"], said["under"] or said["han_under"]
    if over or under:
        far = min(_FURTHEST, step / value)
    return replace(quantity, near=(Fraction(0) if over else far, Fraction(0) if under else far))


def _zeros(value: Fraction) -> int:
    """The power of ten of a number's last digit that is not 0: 4 of 1,250,000, -1 of 2.5."""
    power = 0
    while value.denominator != 1 and power > -6:
        value, power = value * 10, power - 1
    whole = int(value)
    while whole and whole % 10 == 0:
        whole, power = whole // 10, power + 1
    return power


# 每小时50公里, 时速50公里 as 50公里/小时
_SPEED = re.compile(
    rf"每(?P<time>小时|秒)(?:约|可达|达|为|是)?\s?(?P<number>{numerals.HAN}|{numerals.DIGITS})\s?(?P<unit>公里|千米|英里|米)"
    r"(?![/每])"
)
_CUT = re.compile(r"(?<=[a-z])-\n[ \t]*(?=[a-z])")  # kilo-/metre at the end of a line
_AGES = re.compile(r"\b([Uu]nder|[Oo]ver)-(\d+)s\b")
_SHORTENED = {"廿": "二十", "卅": "三十", "一战": "第一次世界大战", "二战": "第二次世界大战"}
_POWER = re.compile(
    r"(?:(?P<factor>\d+(?:\.\d+)?)\s?[×x·*]\s?)?\b10(?P<sign>[⁻⁺]?)(?P<power>[⁰¹²³⁴-⁹]{1,2})", re.ASCII
)
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def _power(match: re.Match[str]) -> str:
    power = int(match["power"].translate(_PLAIN_DIGITS))
    if power > 30:
        return match[0]
    value = Fraction(match["factor"] or 1) * Fraction(10) ** (-power if match["sign"] == "⁻" else power)
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.12f}".rstrip("0")


# --- numbers beside each other ----------------------------------------------------------------------

CONNECTED = re.compile(r"\s*(?:-|–|—|~|～|〜|to|and|or|by|x|×|至|到|和|或|、|/)\s*", re.ASCII)
_ADJACENT = re.compile(r",?\s*(?:and\s)?\s*|零|又", re.ASCII)


def _dated(text: str, found: list[Quantity]) -> list[Quantity]:
    """`2 to 16 January`, 1月2日至16日: both numbers are days of the month."""
    done = list(found)
    for i, (first, second) in enumerate(pairwise(found)):
        if not CONNECTED.fullmatch(text[first.end : second.start]):
            continue
        if isinstance(second.moment, Date) and first.bare and _is_day(first):
            done[i] = replace(first, moment=replace(second.moment, day=int(min(first.plain)), order=(0, 0)))
        ends = text[second.start : second.end].endswith("日") and _is_day(second)
        if isinstance(first.moment, Date) and first.moment.day and ends:
            done[i + 1] = replace(second, moment=replace(first.moment, day=int(min(second.plain))))
    return done


def _is_day(number: Quantity) -> bool:
    return (
        number.moment is None
        and not number.version
        and len(number.plain) == 1
        and all(value.denominator == 1 and 1 <= value <= 31 for value in number.plain)
    )


def _ranges(text: str, found: list[Quantity]) -> list[Quantity]:
    """`2 to 8 °C`: the first number may have the unit of the second, too."""
    done = list(found)
    for i in range(len(done) - 2, -1, -1):
        first, second = done[i], done[i + 1]
        if not first.bare or not first.plain or second.bare or not second.plain or first.version:
            continue
        if not CONNECTED.fullmatch(text[first.end : second.start]):
            continue
        factors = {
            (reading / value, base) for reading, base in second.readings for value in second.plain if value
        }
        added = frozenset((value * factor, base) for value in first.plain for factor, base in factors)
        done[i] = replace(first, readings=first.readings | added)
    return done


def _summed(text: str, found: list[Quantity]) -> list[Quantity]:
    """`1 hour 30 minutes` as one quantity with its parts, in a claim; a source keeps the parts, too."""
    done: list[Quantity] = []
    for quantity in found:
        before = done[-1] if done else None
        both = before is not None and len(before.readings) == len(quantity.readings) == 1
        if before is not None and both and not quantity.ordinal and quantity.required and not quantity.rate:
            (value, base), (more, other) = next(iter(before.readings)), next(iter(quantity.readings))
            units_differ = (
                before.plain
                and quantity.plain
                and value / (min(before.plain) or 1) > more / (min(quantity.plain) or 1)
            )
            if (
                base == other != ""
                and units_differ
                and _ADJACENT.fullmatch(text[before.end : quantity.start])
            ):
                total = frozenset(((value + more, base),))
                done[-1] = Quantity(
                    before.start, quantity.end, readings=total, parts=(*before.parts, before, quantity)
                )
                continue
        done.append(quantity)
    return done
