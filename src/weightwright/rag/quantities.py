"""All that a text says in numbers: values with sign, unit and currency, dates, times, versions."""

import re
from dataclasses import replace
from fractions import Fraction

from weightwright.rag import numerals
from weightwright.rag.counted import numbers, rates
from weightwright.rag.dates import moments
from weightwright.rag.normal import simplified, visible
from weightwright.rag.quantity import Quantity
from weightwright.rag.written import decades, fractions, multiples, quarters, shares, versions


def readable(text: str) -> str:
    """The text as `quantities` reads it; ranges are of this."""
    plain = simplified(visible(_POWER.sub(_power, text)))
    plain = _SPEED.sub(r"\g<number>\g<unit>/\g<time>", plain)
    for short, long in _SHORTENED.items():
        if short in plain:
            plain = plain.replace(short, long)
    return plain


def quantities(text: str) -> list[Quantity]:
    """All numbers of a `readable` text, in order."""
    found = [Quantity(start, end, moment=moment) for start, end, moment in moments(text)]
    for find in (shares, fractions, versions, decades, quarters, multiples, numbers, rates):
        taken = [(q.start, q.end) for q in found]
        found += [q for q in find(text) if not any(q.start < end and start < q.end for start, end in taken)]
    found.sort(key=lambda quantity: quantity.start)
    return _summed(text, _ranges(text, found))


# 每小时50公里, 时速50公里 as 50公里/小时
_SPEED = re.compile(
    rf"每(?P<time>小时|秒)(?:约|可达|达|为|是)?\s?(?P<number>{numerals.HAN}|{numerals.DIGITS})\s?(?P<unit>公里|千米|英里|米)"
    r"(?![/每])"
)
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
