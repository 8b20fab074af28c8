"""All that a `readable` text says in numbers: values with sign, unit and currency, dates, times, versions."""

import re
from dataclasses import replace
from fractions import Fraction

from weightwright.rag.counted import numbers
from weightwright.rag.dates import moments
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
    return frequencies(text, _summed(text, _ranges(text, found)))


# --- numbers beside each other ----------------------------------------------------------------------

_CONNECTED = re.compile(r"\s*(?:-|–|—|~|～|〜|to|and|or|by|x|×|至|到|和|或|、|/)\s*", re.ASCII)
_ADJACENT = re.compile(r",?\s*(?:and\s)?\s*|零|又", re.ASCII)


def _ranges(text: str, found: list[Quantity]) -> list[Quantity]:
    """`2 to 8 °C`: the first number may have the unit of the second, too."""
    done = list(found)
    for i in range(len(done) - 2, -1, -1):
        first, second = done[i], done[i + 1]
        if not first.bare or not first.plain or second.bare or not second.plain or first.version:
            continue
        if not _CONNECTED.fullmatch(text[first.end : second.start]):
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
