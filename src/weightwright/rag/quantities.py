"""All that a `readable` text says in numbers: values with sign, unit and currency, dates, times, versions."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from weightwright.rag.counted import numbers
from weightwright.rag.dates import Date, moments
from weightwright.rag.frequencies import frequencies
from weightwright.rag.quantity import Quantity, Reading
from weightwright.rag.rates import rates
from weightwright.rag.units import CURRENCIES
from weightwright.rag.written import decades, fractions, multiples, quarters, shares, versions


def quantities(text: str) -> list[Quantity]:
    """All numbers of a `readable` text, in order."""
    found = [Quantity(start, end, moment=moment) for start, end, moment in moments(text)]
    for find in (shares, fractions, versions, decades, quarters, multiples, numbers, rates):
        taken = [(q.start, q.end) for q in found]
        found += [q for q in find(text) if not any(q.start < end and start < q.end for start, end in taken)]
    found.sort(key=lambda quantity: quantity.start)
    found = frequencies(text, _summed(text, _ranges(text, _dated(text, found))))
    return [_about(text, quantity) for quantity in found]


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
        if before is not None and not quantity.ordinal and quantity.required and not quantity.rate:
            total = _sum(before, quantity)
            if total and _ADJACENT.fullmatch(text[before.end : quantity.start]):
                done[-1] = Quantity(
                    before.start, quantity.end, readings=total, parts=(*before.parts, before, quantity)
                )
                continue
            if before.bases & CURRENCIES and _ADJACENT.fullmatch(text[before.end : quantity.start]):
                done[-1] = _with_cents(before, quantity)
                if done[-1] is not before:
                    continue
        done.append(quantity)
    return done


def _with_cents(money: Quantity, cents: Quantity) -> Quantity:
    """Six pounds fifty; the money itself where what follows is no number of cents."""
    value = min(cents.plain, default=Fraction(0))
    whole = min(money.plain, default=Fraction(0))
    if not whole or not cents.bare or cents.counted or not 10 <= value < 100 or value.denominator > 1:
        return money
    readings = frozenset((amount * (1 + value / 100 / whole), base) for amount, base in money.readings)
    return Quantity(money.start, cents.end, readings=readings)


def _sum(first: Quantity, second: Quantity) -> frozenset[Reading]:
    """Both in the base that they share, where the second has the smaller unit (2小时 and 30分); else nothing."""
    if not (first.plain and second.plain) and not first.parts:
        return frozenset()
    whole, part = min(first.plain, default=Fraction(1)) or 1, min(second.plain, default=Fraction(1)) or 1
    last = first.parts[-1] if first.parts else None
    if last is not None:
        whole = min(last.plain) or 1
    totals = set[Reading]()
    for value, base in first.readings:
        of_last = next((v for v, b in last.readings if b == base), value) if last is not None else value
        for more, other in second.readings:
            if base == other != "" and of_last / whole > more / part:
                totals.add((value + more, base))
    return frozenset(totals) if len(totals) == 1 else frozenset()


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
