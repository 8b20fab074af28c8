"""A number of a text with its unit, and whether one of a claim stands among those of a source.

The same value in the same unit is the same, whatever the writing (25 days, twenty-five days, 二十五天; 12,000 and
12 000; 2万元 and 20000元); versions are compared as they are written, dates part by part.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from weightwright.rag.dates import Date, Moment, Time
from weightwright.rag.units import Unit

Reading = tuple[Fraction, str]  # a value in a base unit, "" where no unit is said


UNIT_UNSAID = "*"  # among the units that a row of a table names: it names none, as tables often do


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a text. `plain` are its values as written, `readings` with their units."""

    start: int
    end: int
    plain: frozenset[Fraction] = frozenset()
    readings: frozenset[Reading] = frozenset()
    moment: Moment | None = None
    written: str = ""  # where the writing itself counts: 3.10 of a version
    version: bool = False
    ordinal: bool = False
    rate: str = ""  # the unit of `a month` in `35 euros a month`
    counted: str = ""  # what follows a number without unit: `member` of 12 members, 片 of 两片
    required: bool = True  # whether a claim that says it needs it: not `one` in `one of them`
    change: bool = False  # by how much something grew or fell
    closes: bool = (
        False  # whether its clause ends with it, so that what it counts is said before: 27 shops, now 30
    )
    named: bool = False  # whether it stands behind what it numbers: day 4, which is the fourth day
    near: tuple[Fraction, Fraction] = (
        Fraction(0),
        Fraction(0),
    )  # of its value: how far `about` reaches down and up
    parts: tuple["Quantity", ...] = ()  # 1 h and 30 min, of which this is the sum

    @property
    def bases(self) -> frozenset[str]:
        """The bases of its units."""
        return frozenset(base for _, base in self.readings)

    @property
    def units(self) -> frozenset[str]:
        """Its units as `Unit.name` writes them."""
        return frozenset(
            Unit(base, value / plain).name for value, base in self.readings for plain in self.plain if plain
        )

    @property
    def telling(self) -> bool:
        """Whether few other texts have it by chance: with a unit, a date or time, of three digits and more."""
        if self.moment is not None or self.version or self.named or self.bases - {"", "times"}:
            return True
        return any(value.denominator > 1 or abs(value) > 99 for value in self.plain)

    @property
    def bare(self) -> bool:
        """Whether it has no unit."""
        return not self.bases or "" in self.bases


def stands(claim: Quantity, source: Sequence[Quantity], mentioned: Collection[str]) -> bool:
    """Whether a claim's number is among the source's; `mentioned`: units that the source names.

    Where the source counts the same thing (12 members), another number (of 3 rooms) does not stand for it.
    """
    if claim.counted and claim.bare:
        of_it = [other for other in source if other.counted == claim.counted]
        if not of_it and claim.plain == {1} and not claim.written:
            return True  # `one bearing` says no more than `a bearing`
        source = [*of_it, *(other for other in source if _may_be(other))] if of_it else source
    if any(_same(claim, other, mentioned) for other in source):
        return True
    if claim.rate:
        return claim.rate in mentioned
    if ":" in claim.written and _in_turn(claim.written, source):
        return True
    return bool(claim.parts) and all(stands(part, source, mentioned) for part in claim.parts)


def _may_be(other: Quantity) -> bool:
    """Whether a number may count what was said before: 27 shops, now 30; 90 jobs, 20 of them here."""
    return other.closes or (other.bare and not other.counted and other.moment is None)


def _in_turn(score: str, source: Sequence[Quantity]) -> bool:
    """Whether both numbers of 3:1 stand one behind the other."""
    sides = [frozenset((Fraction(side),)) for side in score.split(":")]
    return any([first.plain, second.plain] == sides for first, second in pairwise(source))


def _same(claim: Quantity, other: Quantity, mentioned: Collection[str]) -> bool:
    if claim.rate or other.rate:
        once = claim.units if not claim.rate and claim.plain == {1} else frozenset[str]()
        in_one = other.units if not other.rate and other.plain == {1} else frozenset[str]()  # 一天 for 每天
        one, another = claim.readings | _interval(claim), other.readings | _interval(other)
        same = any(reading in another and reading[1].startswith("every") for reading in one)
        return same or claim.rate == other.rate or other.rate in once or claim.rate in in_one
    if claim.moment is not None:
        return _same_moment(claim, other)
    if isinstance(other.moment, Time) and (Fraction(round(other.moment.minutes * 60)), "s") in claim.readings:
        return True
    if isinstance(other.moment, Time) and (dotted := dotted_time(claim)) is not None:
        return dotted.within(other.moment)
    if other.moment is not None:
        return bool(claim.bare and claim.plain & _plain_of(other.moment))
    if (claim.version or other.version) and claim.written and other.written:
        return _without_zeros(claim.written) == _without_zeros(other.written)
    named = claim.named or other.named or (claim.bases | other.bases) <= {"", "page", "floor"}
    if claim.ordinal != other.ordinal and not named:
        return False
    if claim.readings & other.readings or _is_near(claim, other) or _as_multiple(claim) & _as_multiple(other):
        return True
    if claim.bare:
        return bool(claim.plain & other.plain)
    if not other.bare or not claim.plain & other.plain:
        return False
    said = not claim.units.isdisjoint(mentioned) or (UNIT_UNSAID in mentioned and other.closes)
    return said or (
        min(other.plain) < 0 and bool(claim.bases & {"degree", "°C", "°F"})
    )  # minus 4 in the valleys


def _interval(rate: Quantity) -> frozenset[Reading]:
    """Fortnightly as every two weeks."""
    base, _, factor = rate.rate.partition("×")
    return frozenset(((Fraction(factor), f"every {base}"),)) if factor else frozenset()


def _as_multiple(number: Quantity) -> frozenset[Fraction]:
    """How often a whole is taken: 150%, one and a half times, 1.5倍, doubled; not 20%."""
    bases = ("times", "fold") if number.change else ("ratio", "times", "fold")
    return frozenset(v for v, base in number.readings if base in bases and v >= 1)


def _is_near(claim: Quantity, other: Quantity) -> bool:
    """Whether `about 1,250` stands for 1,246, or `over 1,000` for 1,042."""
    down, up = claim.near
    return bool(down or up) and any(
        base == other_base and value * (1 - down) <= other_value <= value * (1 + up)
        for value, base in claim.readings
        for other_value, other_base in other.readings
    )


def _without_zeros(version: str) -> str:
    """`2.0` as `2`; 3.10 and 3.1 stay what they are."""
    return re.sub(r"(?:\.0)+$", "", version)


def _same_moment(claim: Quantity, other: Quantity) -> bool:
    mine, theirs = claim.moment, other.moment
    if isinstance(mine, Date):
        return isinstance(theirs, Date) and mine.within(theirs)
    if isinstance(mine, Time):
        if isinstance(theirs, Time):
            return mine.within(theirs)
        if (Fraction(round(mine.minutes * 60)), "s") in other.readings:
            return True  # 2:19:34 as 2 h 19 min 34 s
        if theirs is None and (dotted := dotted_time(other)) is not None:
            return mine.within(dotted)
        return theirs is None and other.bare and Fraction(int(mine.minutes * 60), 3600) in other.plain
    return isinstance(theirs, tuple) and isinstance(mine, tuple) and set(mine) <= set(theirs)


def dotted_time(number: Quantity) -> Time | None:
    """16.15 as a time of day, which it may be."""
    hour, _, minute = number.written.partition(".")
    if not number.bare or len(minute) != 2 or not 0 < len(hour) < 3 or int(hour) > 24 or int(minute) > 59:
        return None
    return Time(int(hour) * 60 + int(minute), half_said=int(hour) > 12, digital=True)


def _plain_of(moment: Moment) -> frozenset[Fraction]:
    match moment:
        case Date():
            return frozenset(map(Fraction, {moment.year, moment.day, moment.month, *moment.order} - {0}))
        case Time():
            hours = Fraction(int(moment.minutes * 60), 3600)
            return frozenset((hours, hours - 12 if hours > 12 else hours))
        case _:
            return frozenset()


def split_date(claim: Quantity) -> tuple[Quantity, Quantity] | None:
    """A date with its year as two: its day and month, and its year, which may stand apart in a source."""
    date = claim.moment
    if not isinstance(date, Date) or not (date.year and date.month):
        return None
    year = frozenset((Fraction(date.year),))
    return replace(claim, moment=replace(date, year=0)), Quantity(claim.start, claim.end, plain=year)
