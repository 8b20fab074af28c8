"""How often something happens, in both ways to say it: four times a year is every three months."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from weightwright.rag.quantity import Quantity, Reading

_EVERY = re.compile(r"(?:\b(?:[Ee]very|each)|每隔?)\s?$")
_BETWEEN = re.compile(r"\s?(?:[一发开]?)\s?")
_TURNS = frozenset("班趟次回")


def frequencies(text: str, found: Sequence[Quantity]) -> list[Quantity]:
    """The quantities, with `every 3 months` and `four times a year` comparable."""
    done = [_interval(text, quantity) for quantity in found]
    merged: list[Quantity] = []
    told = [n for n, quantity in enumerate(done) if quantity.rate or _is_turns(quantity)]
    for n, m in pairwise(told):
        first, second = done[n], done[m]
        if not _BETWEEN.fullmatch(text[first.end : second.start]):
            continue
        times, rate = (first, second) if second.rate else (second, first)
        if not rate.rate or not _is_turns(times):
            continue
        readings = _every(rate, times)
        if readings:
            whole = Quantity(
                first.start, second.end, readings=readings, required=times.required, parts=(times, rate)
            )
            merged.append(whole)
            done[n], done[m] = replace(first, required=False), replace(second, required=False)
    return [*done, *merged]


def _interval(text: str, quantity: Quantity) -> Quantity:
    """A quantity of time behind `every` with its reading as an interval."""
    if (
        quantity.rate
        or not quantity.readings
        or not _EVERY.search(text[max(0, quantity.start - 8) : quantity.start])
    ):
        return quantity
    every = frozenset((value, f"every {base}") for value, base in quantity.readings if base in ("s", "month"))
    return replace(quantity, readings=quantity.readings | every)


def _is_turns(quantity: Quantity) -> bool:
    return "times" in quantity.bases or quantity.counted in _TURNS


def _every(rate: Quantity, times: Quantity) -> frozenset[Reading]:
    base, _, factor = rate.rate.partition("×")
    if base not in ("s", "month"):
        return frozenset()
    return frozenset((Fraction(factor) / n, f"every {base}") for n in times.plain if n)
