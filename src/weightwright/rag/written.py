"""Numbers that are written in a way of their own: fractions, versions and sections, decades and centuries."""

import re
from dataclasses import replace
from fractions import Fraction

from weightwright.rag import numerals, units
from weightwright.rag.counted import with_unit
from weightwright.rag.names import is_ordinary
from weightwright.rag.quantity import Quantity

_FRACTION = re.compile(
    rf"(?P<chinese_whole>{numerals.HAN}|{numerals.DIGITS})又(?P<of_whole>{numerals.HAN})分之(?P<over>{numerals.HAN})"
    rf"|(?P<coins>{numerals.HAN}|{numerals.DIGITS})(?P<coin>块|米|毛(?=[一二三四五六七八九](?![一二三四五六七八九十百千万]))|秒(?=\d\d))(?P<tenths>[一二三四五六七八九\d]{{1,2}})(?![\w十百千万点.])"
    r"|\b(?P<ones>(?i:an?|one|two|three|four|five|six|seven|eight|nine|ten)|\d+)"
    r" (?P<one_unit>(?i:hour|day|week|month|year"
    r"|decade|century|mile|kilometre|kilometer|metre|meter|litre|liter)s?) and a (?P<more>half|quarter)\b"
    rf"|(?P<tenth>[一二三四五六七八九])成(?P<hundredth>[一二三四五六七八九])(?![一二三四五六七八九十])"
    r"|(?:(?P<whole>\d+) )?(?<!\d)(?P<above>\d+)[⁄](?P<below>\d+)"
    r"|(?P<mixed>\d+) (?P<up>\d)/(?P<down>[2-9]|10|16)(?![\d/])"
    rf"|(?P<percent>百分之)(?P<of_hundred>{numerals.HAN}|{numerals.DIGITS})"
    rf"|(?P<han_below>{numerals.HAN})分之(?P<han_above>{numerals.HAN})"
    r"|(?<!and )(?<!and-)\b(?P<count>(?i:one|two|three|four|five|a))[ -](?P<part>(?i:half|third"
    r"|quarter|fifth|tenth))s?(?![\w-])(?: of an?(?= (?:hour|day|year|century|mile|kilo)"
    r"| (?P<scale>million|billion|trillion)\b))?"
    r"|(?<![\d/])(?P<a>[1-9])/(?P<b>[2-9]|10|[3-9]\d|\d00+|3[2-9])(?=\s?(?:的|of\b)|(?<=/\d)(?![\d/])|(?<=/[3-9]\d)(?![\d/])|(?<=00)(?![\d/]))"
    rf"|(?P<and_half>{numerals.HAN}|{numerals.DIGITS})个半(?=小时|月|钟头|星期)"
    rf"|(?P<unit_half>{numerals.HAN}|{numerals.DIGITS})(?P<of>年|天|小时|周|个月|米|公里|分(?=半钟)|分钟|斤|公斤|千克|吨|升|块|里|倍|页)半钟?"
    r"|(?P<half>(?<!and a )(?<!and a-)\b(?i:half)(?: (?:of|the|its|all)\b| an?(?= (?!million|billion"
    r"|dozen|hundred|thousand))| (?=(?!an? )[a-z]))|一半|半数|减半|半(?=个?(?:小时|年|天|月|日|钟头))"
    rf"|半(?=(?:{units.CHINESE}|[片粒杯瓶勺碗袋包盒]))(?!分|年|天|月|日))",
    re.ASCII,
)
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def fractions(text: str) -> list[Quantity]:
    """½, one third, 三分之一, 百分之五, half an hour, 两年半: with their units, shares as parts of one."""
    found = []
    for match in _FRACTION.finditer(text):
        value = _fraction(match)
        if value is None:
            continue
        quantity = with_unit(text, match.start(), match.end(), frozenset((value,)))
        if unit := match["coin"] or match["one_unit"]:
            quantity = with_unit(f"1 {unit}", 0, 1, frozenset((value,)))
            quantity = replace(quantity, start=match.start(), end=match.end())
        elif match["unit_half"] or match["and_half"]:
            written = match["of"] or text[match.end() :]
            quantity = with_unit(f"半{'分钟' if written == '分' else written}", 0, 1, frozenset((value,)))
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
    if match["over"]:
        whole, below = min(_han_or_digits(match["chinese_whole"])), min(_han_or_digits(match["of_whole"]))
        return whole + min(_han_or_digits(match["over"])) / below if below else None
    if match["tenth"]:
        return min(_han_or_digits(match["tenth"])) / 10 + min(_han_or_digits(match["hundredth"])) / 100
    if match["coins"]:
        tenths = "".join(str(min(_han_or_digits(c))) for c in match["tenths"])
        return min(_han_or_digits(match["coins"])) + Fraction(int(tenths), 10 ** len(tenths))
    if match["ones"]:
        ones = match["ones"].lower()
        count = (
            Fraction(ones)
            if ones.isdigit()
            else min(numerals.words(ones)[0])
            if ones[0] != "a"
            else Fraction(1)
        )
        return count + (Fraction(1, 2) if match["more"] == "half" else Fraction(1, 4))
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
        scale = numerals.SCALES[match["scale"]] if match["scale"] else 1
        return scale * Fraction(_COUNTS[match["count"].lower()], _PARTS[match["part"].lower()])
    return Fraction(1, 2)


def _han_or_digits(token: str) -> numerals.Values:
    return numerals.digits(token) if re.fullmatch(numerals.DIGITS, token) else numerals.han(token)


_SMALL = r"(?i:one|two|three|four|five|six|seven|eight|nine|ten|twenty|hundred)"
_SHARE = re.compile(
    rf"(?<![\d.,])\b(?P<part>\d{{1,3}}|{_SMALL})[ -](?:in|out of)[ -](?:every )?"
    rf"(?P<of>\d{{1,3}}(?:,\d{{3}})*|{_SMALL})(?= [a-z]|[).,;:]? ?$|\))"
    rf"|\b(?i:every) (?P<nth>(?i:other|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)"
    rf"|\d{{1,2}}(?:nd|rd|th)) (?=[a-z])"
    rf"|每(?P<each>{numerals.HAN}|{numerals.DIGITS})[个名位人]{{1,2}}[^，。]{{0,4}}中[^，。]{{0,3}}?有(?P<among>{numerals.HAN}"
    rf"|{numerals.DIGITS})",
    re.ASCII,
)


def shares(text: str) -> list[Quantity]:
    """One in five, 3 out of 10, 每五人中有一人: as parts of one; not `one in 20 minutes`."""
    found = []
    for match in _SHARE.finditer(text):
        if match["nth"]:
            found.append(_every(text, match))
            continue
        if match["part"]:
            part, of = (
                min(numerals.digits(token) if token[0].isdigit() else numerals.words(token.lower())[0])
                for token in (match["part"], match["of"])
            )
        else:
            part, of = min(_han_or_digits(match["among"])), min(_han_or_digits(match["each"]))
        if part < of and units.AFTER.match(text, match.end()) is None:
            found.append(
                Quantity(
                    match.start(), match.end(), frozenset((part / of,)), frozenset(((part / of, "ratio"),))
                )
            )
    return found


def _every(text: str, match: re.Match[str]) -> Quantity:
    """Every third house: one in three; every third day: also three days."""
    nth = match["nth"].lower()
    number = re.sub(r"\D", "", nth)
    of = Fraction(number) if number else Fraction(2) if nth == "other" else min(numerals.words(nth)[0])
    share = with_unit(text, match.start(), match.end() - 1, frozenset((of,)))
    readings = share.readings if not share.bare else frozenset()
    return Quantity(match.start(), share.end, frozenset((1 / of,)), readings | {(1 / of, "ratio")})


_MULTIPLE = re.compile(
    r"\b(?P<word>(?i:doubl|tripl|trebl|quadrupl|halv))(?i:ed|ing|es"
    r"|e(?= (?:the|its|their|in|by|from|to|since|within|every|each|as)\b))\b"
    r"|(?P<half>\bhalf\b(?= as (?:many|much|long|big)))"
    r"|\b(?P<twice>(?i:twice|thrice|once))\b|(?P<pair>\b[Aa] (?:couple|pair) of\b)"
    rf"|翻了?(?P<turns>[一二两三四\d])?番|(?:增加|增长|提高|上升|扩大|上涨|多)了?(?P<more>{numerals.HAN}|{numerals.DIGITS})倍"
)
_MULTIPLES = {"doubl": 2, "tripl": 3, "trebl": 3, "quadrupl": 4, "twice": 2, "thrice": 3, "once": 1}


def multiples(text: str) -> list[Quantity]:
    """Doubled, halved, twice, a couple of; 翻一番 and 增加一倍, which is twice as much."""
    found = []
    for match in _MULTIPLE.finditer(text):
        word = (match["word"] or match["twice"] or "").lower()
        value = Fraction(1, 2) if match["half"] or word == "halv" else Fraction(_MULTIPLES.get(word, 2))
        if match["turns"]:
            value = Fraction(2 ** int(min(_han_or_digits(match["turns"]))))
        elif match["more"]:
            value = min(_han_or_digits(match["more"])) + 1
        base = "times" if match["twice"] else "" if match["pair"] else "fold"
        plain = frozenset((value,))
        found.append(
            Quantity(
                match.start(),
                match.end(),
                plain,
                frozenset(((value, base), *([(value, "ratio")] if word == "halv" else []))),
                required=not match["pair"] and word != "once",
            )
        )
    return found


_QUARTER = re.compile(
    r"(?<!\w)(?:Q(?P<quarter>[1-4])|H(?P<half>[12]))(?!\w)|(?P<chinese>[上下])半年"
    r"|第?(?P<season>[一二三四1-4])季度",
    re.ASCII,
)


def quarters(text: str) -> list[Quantity]:
    """Q3 as the third quarter, H1 and 上半年 as the first half."""
    found = []
    for match in _QUARTER.finditer(text):
        if match["season"]:
            value = min(_han_or_digits(match["season"]))
        else:
            value = Fraction(match["quarter"] or match["half"] or (1 if match["chinese"] == "上" else 2))
        reading = (value * 3, "month") if match["quarter"] or match["season"] else (value, "")
        found.append(
            Quantity(match.start(), match.end(), frozenset((value,)), frozenset((reading,)), ordinal=True)
        )
    return found


_VERSION = re.compile(
    r"(?P<named>\b(?i:versions?|release|ver\.|build|firmware|revision|section|sections|chapter|clause"
    r"|article|figure|fig\.|table|§) ?v?)"
    r"(?P<number>\d+(?:\.\d+)+)|(?<!\w)[vV](?P<v>\d+(?:\.\d+)*)"
    r"|(?<![\d:.])(?P<ratio>\d{1,3}:\d{1,3})(?![\d:])|(?<![\d.,])(?P<long>\d+(?:\.\d+){2,})(?![\d,])"
    r"|(?P<before>\d+(?:\.\d+)+)(?=\s?(?:版|号版))|(?<=版本)\s?(?P<after>\d+(?:\.\d+)*)"
    r"|第(?P<section>\d+(?:\.\d+)+)(?=[节章条])"
    r"|(?<=[A-Za-z])[ -]?(?P<maybe>\d+\.\d+)(?!\d|[.,]\d|\s?[%°])",
    re.ASCII,
)


def versions(text: str) -> list[Quantity]:
    """Versions, sections and ratios, of which the writing counts: 3.10 is not 3.1."""
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
    r"(?<!\d)(?P<decade>1\d|20)(?P<ten>\d0)s(?!\w)|['’](?P<short>[2-9]0)s(?!\w)"
    r"|\bthe (?:early |late |mid-?)?(?P<spelled>(?i:twent|thirt|fort|fift|sixt|sevent|eight|ninet))ies\b"
    r"|(?:(?P<century>\d{2}"
    r"|[一二三四五六七八九十]+)世纪)?(?P<tens>[1-9]0|[一二三四五六七八九]十)年代"
    r"|(?:第)?(?P<nth>\d{1,2}|[一二三四五六七八九十]+)世纪|(?P<english>\d{1,2}(?:st|nd|rd|th)|(?i:"
    + numerals.WORDS[2:]
    + r")) (?i:century)",
    re.ASCII,
)


_TENS = ["twent", "thirt", "fort", "fift", "sixt", "sevent", "eight", "ninet"]


def decades(text: str) -> list[Quantity]:
    """The 1990s, 20世纪90年代, the 12th century."""
    found = []
    for match in _DECADE.finditer(text):
        if match["decade"]:
            value, base = Fraction(int(match["decade"] + match["ten"])), "decade of"
        elif match["short"] or match["spelled"]:
            tens = int(match["short"] or 10 * (_TENS.index(match["spelled"].lower()) + 2))
            value, base = Fraction(1900 + tens), "decade of"
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
