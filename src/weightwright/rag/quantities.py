"""What a text says in numbers: values with sign, unit and currency, dates, times, versions.

`quantities` finds them, `stands` says whether one of a claim stands among those of a source: the same value
in the same unit, whatever the writing (25 days, twenty-five days, 二十五天; 12,000 and 12 000; 2万元 and 20000元).
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from weightwright.rag import numerals, units
from weightwright.rag.dates import Date, Moment, Time, moments
from weightwright.rag.names import is_ordinary
from weightwright.rag.normal import simplified, visible
from weightwright.rag.units import Unit

Reading = tuple[Fraction, str]  # a value in a base unit, "" where no unit is said


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
    required: bool = True  # whether a claim that says it needs it: not `one` in `one of them`
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
    def bare(self) -> bool:
        """Whether it has no unit."""
        return not self.bases or "" in self.bases


def readable(text: str) -> str:
    """The text as `quantities` reads it; ranges are of this."""
    return simplified(visible(_POWER.sub(_power, text)))


def quantities(text: str) -> list[Quantity]:
    """All numbers of a `readable` text, in order."""
    found = [Quantity(start, end, moment=moment) for start, end, moment in moments(text)]
    for find in (_fractions, _versions, _decades, _numbers, _rates):
        taken = [(q.start, q.end) for q in found]
        found += [q for q in find(text) if not any(q.start < end and start < q.end for start, end in taken)]
    found.sort(key=lambda quantity: quantity.start)
    return _summed(text, _ranges(text, found))


# --- comparing --------------------------------------------------------------------------------------


def stands(claim: Quantity, source: Sequence[Quantity], mentioned: Collection[str]) -> bool:
    """Whether a claim's number is among the source's; `mentioned`: units that the source names."""
    if any(_same(claim, other, mentioned) for other in source):
        return True
    if claim.rate:
        return claim.rate in mentioned
    return bool(claim.parts) and all(stands(part, source, mentioned) for part in claim.parts)


def _same(claim: Quantity, other: Quantity, mentioned: Collection[str]) -> bool:
    if claim.rate or other.rate:
        once = claim.units if not claim.rate and claim.plain == {1} else frozenset[str]()
        return claim.rate == other.rate or other.rate in once
    if claim.moment is not None:
        return _same_moment(claim, other)
    if other.moment is not None:
        return bool(claim.bare and claim.plain & _plain_of(other.moment))
    if (claim.version or other.version) and claim.written and other.written:
        return claim.written == other.written
    if claim.ordinal != other.ordinal and not (claim.bases | other.bases) <= {"", "page", "floor"}:
        return False
    if claim.readings & other.readings:
        return True
    if claim.bare:
        return bool(claim.plain & other.plain)
    return other.bare and bool(claim.plain & other.plain) and not claim.units.isdisjoint(mentioned)


def _same_moment(claim: Quantity, other: Quantity) -> bool:
    mine, theirs = claim.moment, other.moment
    if isinstance(mine, Date):
        return isinstance(theirs, Date) and mine.within(theirs)
    if isinstance(mine, Time):
        if isinstance(theirs, Time):
            return mine.within(theirs)
        return theirs is None and other.bare and Fraction(int(mine.minutes * 60), 3600) in other.plain
    return isinstance(theirs, tuple) and isinstance(mine, tuple) and set(mine) <= set(theirs)


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


# --- finding ----------------------------------------------------------------------------------------

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


_FRACTION = re.compile(
    r"(?:(?P<whole>\d+) )?(?<!\d)(?P<above>\d+)[⁄](?P<below>\d+)"
    r"|(?P<mixed>\d+) (?P<up>\d)/(?P<down>[2-9]|10|16)(?![\d/])"
    rf"|(?P<percent>百分之)(?P<of_hundred>{numerals.HAN}|{numerals.DIGITS})"
    rf"|(?P<han_below>{numerals.HAN})分之(?P<han_above>{numerals.HAN})"
    r"|(?<!and )(?<!and-)\b(?P<count>(?i:one|two|three|four|five|a))[ -](?P<part>(?i:half|third|quarter|fifth|tenth))s?(?![\w-])(?: of an?(?= (?:hour|day|year|century|mile|million|kilo)))?"
    r"|(?<![\d/])(?P<a>[1-9])/(?P<b>[2-9]|10)(?=\s?(?:的|of\b))"
    rf"|(?P<and_half>{numerals.HAN}|{numerals.DIGITS})个半(?=小时|月|钟头|星期)|(?P<unit_half>{numerals.HAN}|{numerals.DIGITS})(?P<of>年|天|小时|周|个月|米|公里)半"
    r"|(?P<half>(?<!and a )(?<!and a-)\b(?i:half)(?: (?:of|the|its|all)\b| an?(?= (?!million|billion|dozen|hundred|thousand))| (?=(?!an? )[a-z]))|一半|半(?=个?(?:小时|年|天|月|日|钟头)))",
    re.ASCII,
)
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def _fractions(text: str) -> list[Quantity]:
    found = []
    for match in _FRACTION.finditer(text):
        value = _fraction(match)
        if value is None:
            continue
        quantity = _with_unit(text, match.start(), match.end(), frozenset((value,)))
        if match["unit_half"] or match["and_half"]:
            written = match["of"] or text[match.end() :]
            quantity = _with_unit(f"半{written}", 0, 1, frozenset((value,)))
            quantity = replace(quantity, start=match.start(), end=match.end())
        elif quantity.bases == {""}:
            quantity = replace(quantity, readings=frozenset(((value, ""), (value, "ratio"))))
        if match["percent"]:
            quantity = replace(
                quantity, readings=frozenset(((value, "ratio"),)), plain=frozenset((value * 100,))
            )
        found.append(quantity)
    return found


def _fraction(match: re.Match[str]) -> Fraction | None:
    if match["a"]:
        return Fraction(int(match["a"]), int(match["b"]))
    if match["and_half"] or match["unit_half"]:
        return min(_han_or_digits(match["and_half"] or match["unit_half"])) + Fraction(1, 2)
    if match["below"]:
        return Fraction(match["whole"] or 0) + Fraction(int(match["above"]), int(match["below"]) or 1)
    if match["mixed"]:
        return Fraction(match["mixed"]) + Fraction(int(match["up"]), int(match["down"]))
    if match["percent"]:
        return min(_han_or_digits(match["of_hundred"])) / 100
    if match["han_below"]:
        below = min(_han_or_digits(match["han_below"]))
        return min(_han_or_digits(match["han_above"])) / below if below else None
    if match["part"]:
        return Fraction(_COUNTS[match["count"].lower()], _PARTS[match["part"].lower()])
    return Fraction(1, 2)


def _han_or_digits(token: str) -> numerals.Values:
    return numerals.digits(token) if re.fullmatch(numerals.DIGITS, token) else numerals.han(token)


_VERSION = re.compile(
    r"(?P<named>\b(?i:versions?|release|ver\.|build|firmware|revision|section|sections|chapter|clause|article|figure|fig\.|table|§) ?v?)"
    r"(?P<number>\d+(?:\.\d+)+)|(?<!\w)[vV](?P<v>\d+(?:\.\d+)*)|(?<![\d:.])(?P<ratio>\d{1,3}:\d{1,3})(?![\d:])|(?<![\d.,])(?P<long>\d+(?:\.\d+){2,})(?![\d,])"
    r"|(?P<before>\d+(?:\.\d+)+)(?=\s?(?:版|号版))|(?<=版本)\s?(?P<after>\d+(?:\.\d+)*)|第(?P<section>\d+(?:\.\d+)+)(?=[节章条])"
    r"|(?<=[A-Za-z])[ -]?(?P<maybe>\d+\.\d+)(?!\d|[.,]\d|\s?[%°])",
    re.ASCII,
)


def _versions(text: str) -> list[Quantity]:
    found = []
    for match in _VERSION.finditer(text):
        name = next(name for name, token in match.groupdict().items() if token and name != "named")
        number = match[name]
        if name == "long" and re.fullmatch(r"\d{1,3}(?:\.\d{3})+", number):
            continue  # 1.234.567 is a number
        if name == "maybe" and not _is_named(text, match.start()):
            continue
        start = match.start(name)
        unit = units.AFTER.match(text, match.end()) if name == "maybe" else None
        if unit is not None:
            continue
        one = number.count(".") < 2 and name != "ratio"
        plain = numerals.digits(number) if one else frozenset[Fraction]()
        found.append(
            Quantity(
                start, match.end(name), plain, frozenset((v, "") for v in plain), written=number, version=True
            )
        )
    return found


def _is_named(text: str, end: int) -> bool:
    """Whether the word that ends there is a name (`Python 3.10`) and no code of a currency."""
    word = re.search(r"[A-Za-z]+$", text[:end])
    if word is None or not word[0][0].isupper() or word[0] in units.CODES or len(word[0]) == 1:
        return False
    return word.start() > 0 or not is_ordinary(word[0].lower())


_DECADE = re.compile(
    r"(?<!\d)(?P<decade>1\d|20)(?P<ten>\d0)s(?!\w)|(?:(?P<century>\d{2}|[一二十]+)世纪)?(?P<tens>[1-9]0|[一二三四五六七八九]十)年代"
    r"|(?:第)?(?P<nth>\d{1,2}|[一二十]+)世纪|(?P<english>\d{1,2}(?:st|nd|rd|th)|(?i:"
    + numerals.WORDS[2:]
    + r")) (?i:century)",
    re.ASCII,
)


def _decades(text: str) -> list[Quantity]:
    found = []
    for match in _DECADE.finditer(text):
        if match["decade"]:
            value, base = Fraction(int(match["decade"] + match["ten"])), "decade of"
        elif match["tens"]:
            century = min(_han_or_digits(match["century"])) if match["century"] else Fraction(20)
            value, base = (century - 1) * 100 + min(_han_or_digits(match["tens"])), "decade of"
        else:
            token = (
                match["nth"] or re.sub(r"(?:st|nd|rd|th)$", "", match["english"])
                if match["nth"] or match["english"][0].isdigit()
                else ""
            )
            value = min(_han_or_digits(token)) if token else min(numerals.words(match["english"].lower())[0])
            base = "century of"
        found.append(Quantity(match.start(), match.end(), frozenset((value,)), frozenset(((value, base),))))
    return found


_SIGN = r"(?P<sign>(?<![\w)\]%.,])[-−–](?=\d)|\b(?i:minus|negative) |零下|负)?"
_NUMBER = re.compile(
    rf"(?P<currency>{units.PREFIX})?\s?{_SIGN}(?P<currency_after_sign>{units.PREFIX})?"
    rf"(?:(?P<th>第)\s?)?(?:(?P<han>{numerals.HAN})|(?P<digits>{numerals.DIGITS})|(?P<words>(?i:{numerals.WORDS})))"
    r"(?P<ordinal>(?:st|nd|rd|th)(?!\w))?"
    r"(?P<scale>[ -]?(?i:hundred|thousand|million|billion|trillion|lakh|crore|milliard|mn|bn|mio)s?(?!\w)|[kKM](?![\w/])| k(?!\w)|(?<=\d)m(?!\w))?",
    re.ASCII,
)
_ROMAN = re.compile(
    r"(?P<named>\b(?i:chapters?|parts?|sections?|volumes?|vol\.|books?|acts?|articles?|appendix|annex|titles?|phases?|types?|levels?|"
    rf"classes|class|stages?|tables?|figures?|scenes?|grades?|schedules?|cantos?|tiers?|wars?) )(?P<roman>{numerals.ROMAN})(?!\w)"
    r"|(?<!\w)(?P<alone>(?=[IVX]{2})X{0,3}(?:I[XV]|V?I{0,3}))(?!\w)|第(?P<chinese>[IVX]+)(?=[章节部卷编条])",
    re.ASCII,
)
_MEASURES = "个名位家台辆艘本册张间栋座件份人口号楼层页章节条部卷编期届场项款篇课级门只支条头匹棵株颗粒对双组排班幅首把副步点种代"


def _numbers(text: str) -> list[Quantity]:
    found = []
    for match in _ROMAN.finditer(text):
        name = next(name for name in ("roman", "alone", "chinese") if match[name])
        value = frozenset((numerals.roman(match[name]),))
        found.append(Quantity(match.start(name), match.end(name), value, frozenset((v, "") for v in value)))
    position = 0
    while match := _NUMBER.search(text, position):
        position = match.end()
        if (quantity := _number(text, match)) is not None:
            found.append(quantity)
            position = max(position, quantity.end)
    return found


def _number(text: str, match: re.Match[str]) -> Quantity | None:
    ordinal = bool(match["th"] or match["ordinal"])
    required = True
    if match["han"]:
        if not _is_number(text, match):
            return None
        values = numerals.han(match["han"])
    elif match["digits"]:
        values = numerals.digits(match["digits"])
    else:
        word = match["words"].lower()
        values, ordinal = numerals.words(word)
        required = not (word == "one" and not _counts(text, match.end()))
        if word in ("first", "second"):
            required = bool(_IN_ORDER.match(text, match.end()))
    currency = match["currency"] or match["currency_after_sign"] or ""
    if scale := (match["scale"] or "").strip(" -"):
        if scale == "m" and not currency:
            quantity = _with_unit(text, match.start(), match.start("scale"), values)
            return replace(quantity, required=required)
        factor = {"k": 10**3, "m": 10**6}.get(scale.lower()) or numerals.SCALES[
            scale.lower().removesuffix("s")
        ]
        values = frozenset(value * factor for value in values)
    if match["sign"]:
        values = frozenset(-value for value in values)
    end = match.end()
    quantity = _with_unit(text, match.start(), end, values, currency)
    start = quantity.start + len(match[0]) - len(match[0].lstrip())
    written = match["digits"] if match["digits"] and re.fullmatch(r"\d+(?:\.\d+)*", match["digits"]) else ""
    return replace(quantity, start=start, ordinal=ordinal, required=required, written=written)


_IN_ORDER = re.compile(
    r"[ -](?:floor|storey|day|week|month|year|quarter|half|page|chapter|part|volume|section|act|edition|round|prize)\b"
)


def _counts(text: str, end: int) -> bool:
    """Whether `one` counts what follows: one office, but not `one of them`, `one can`, `the one that`."""
    after = re.match(r"[ -]([A-Za-z]+)", text[end:])
    return after is not None and after[1].lower() not in _AFTER_A_PRONOUN


_AFTER_A_PRONOUN = frozenset(
    "of can could may might must should will would has have is was who that which where to in on at for from and or"
    " another does did says said needs another thing".split()
)


def _is_number(text: str, match: re.Match[str]) -> bool:
    """Whether Chinese numerals stand for a number: not those in 万一, 四川, 一般, 张三."""
    token, after = match["han"], text[match.end() :]
    if re.search(r"\d", token) or match["th"] or match["sign"]:
        return True
    if (
        len(token) > 1
        and re.search("[十百千万亿]", token)
        and token not in ("万一", "千万", "百万", "十万", "百千")
        and (not re.fullmatch("[十百千万亿]+", token))
    ):
        return True
    unit = re.match(rf"\s?(?:多|余|来)?(?:{units.CHINESE})", after)
    if token == "一":  # as the English article, but for true units
        return unit is not None and unit[0] not in ("次", "层", "成", "节", "点", "里", "分", "度", "周年")
    if unit:
        return token not in ("万", "百", "千")
    if after[:1] and after[0] in _MEASURES:
        return True
    return len(token) > 1 and token not in ("万一", "一一") and not re.fullmatch("[十百千万亿]+", token)


def _with_unit(text: str, start: int, end: int, values: numerals.Values, currency: str = "") -> Quantity:
    """The number that ends at `end` with the unit behind it, or the currency before it."""
    meant: tuple[Unit, ...] = units.units(currency) if currency else ()
    if currency in ("RMB", "人民币"):
        meant = (Unit("CNY"),)
    after = None if currency and not meant else units.AFTER.match(text, end)
    if after is not None:
        name = next(name for name in ("symbol", "word", "chinese") if after[name])
        behind = units.units(after[name])
        if not _is_unit(text, end, after, name, values):
            behind = ()
        if behind and (not meant or {u.base for u in behind} & {u.base for u in meant}):
            meant = tuple(u for u in behind if not meant or u.base in {m.base for m in meant})
            end = after.end()
    if not meant:
        end += text[end : end + 1] == "年" and _is_year(text[:end], values)
        return Quantity(start, end, values, frozenset((value, "") for value in values))
    readings = frozenset((value * unit.factor, unit.base) for value in values for unit in meant)
    return Quantity(start, end, values, readings)


def _is_unit(text: str, end: int, after: re.Match[str], name: str, values: numerals.Values) -> bool:
    """Whether what follows a number is its unit: not 年 of 2015年, m of a word, `second` of `3 second-hand`."""
    written = after[name].strip()
    if written == "年" and _is_year(text[:end], values):
        return False
    if name == "chinese" and written in ("里", "节", "成", "码", "回", "次", "分", "度", "块", "楼", "角"):
        follows = text[after.end() : after.end() + 1]
        return not (written == "里" and follows in "面边程") if follows else True
    return True


def _is_year(before: str, values: numerals.Values) -> bool:
    """Whether the number that ends there is a year of the calendar (2015年), not a time of years (5年)."""
    written = re.search(r"(?<!\d)\d{4}$|[零〇一二三四五六七八九]{4}$", before)
    return written is not None and all(1000 <= value <= 2100 for value in values)


_RATE = re.compile(
    rf"\b(?P<per>(?i:per|each|every|a|an)|/)\s?(?P<unit>(?:{units.WORD}))"
    rf"|(?P<chinese_per>每|/)一?个?(?P<chinese>月|{units.CHINESE})|(?P<adverb>\b(?i:annual(?:ly)?|yearly|monthly|weekly|daily|hourly)(?!\w))"
    r"|(?P<fee>[年月周日])(?=费|薪|租|均|产)",
    re.ASCII,
)
_ADVERBS = {"annual": "year", "annually": "year", "yearly": "year", "monthly": "month", "weekly": "week", "daily": "day", "hourly": "hour"}  # fmt: skip


def _rates(text: str) -> list[Quantity]:
    """`a month`, `per year`, 每天: of what a claim says only those beside a number are needed."""
    found = []
    for match in _RATE.finditer(text):
        written = (
            _ADVERBS.get((match["adverb"] or "").lower()) or match["unit"] or match["chinese"] or match["fee"]
        )
        meant = units.units({"月": "个月"}.get(written, written))
        if not meant:
            continue
        unit = meant[0]
        base = unit.name
        article = (match["per"] or "").lower() in ("a", "an")
        beside = bool(re.search(r"[\d\w%€$£]\s*$", text[: match.start()])) and bool(
            re.search(r"\d|" + units.WORD, text[max(0, match.start() - 24) : match.start()])
        )
        if article:
            readings = frozenset((unit.factor, unit.base) for unit in meant)
            found.append(
                Quantity(match.start(), match.end(), frozenset((Fraction(1),)), readings, required=False)
            )
        if not article or beside:
            needed = not article or _behind_a_price(text[: match.start()])
            found.append(Quantity(match.start(), match.end(), rate=base, required=needed))
    return found


def _behind_a_price(before: str) -> bool:
    return bool(
        re.search(r"(?:\d|euros?|dollars?|pounds?|times?|hours?|days?|EUR|USD|GBP|francs?)\s?$", before)
    )


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
