"""Numbers and what they count: digits and words with sign, scale, unit and currency, Roman numerals, rates."""

import re
from dataclasses import replace

from weightwright.rag import numerals, units
from weightwright.rag.analyze import STOP_WORDS, stem
from weightwright.rag.quantity import Quantity
from weightwright.rag.units import Unit

_SIGN = (
    r"(?P<sign>(?<![\w)\]%.,])[-−–](?=\d)|\b(?i:minus|negative) |零下|负"
    r"|公元前(?=[\d一二三四五六七八九十百零〇]+年)|(?<![\u4e00-\u9fff])前(?=\d{3,4}年))?"
)
_NUMBER = re.compile(
    rf"(?P<currency>{units.PREFIX})?\s?{_SIGN}(?P<currency_after_sign>{units.PREFIX})?"
    rf"(?:(?P<th>第)\s?)?(?:(?P<han>{numerals.HAN})|(?P<digits>{numerals.DIGITS})|(?P<words>(?i:{numerals.WORDS})))"
    r"(?P<ordinal>(?:st|nd|rd|th)(?!\w))?"
    r"(?P<scale>[ -]?(?i:hundred|thousand|million|billion|trillion|lakh|crore|milliard|mn|bn"
    r"|mio)s?(?!\w)|[kKM](?![\w/])| k(?!\w)|(?<=\d)m(?!\w))?",
    re.ASCII,
)
_ROMAN = re.compile(
    r"(?P<named>\b(?i:chapters?|parts?|sections?|volumes?|vol\.|books?|acts?|articles?|appendix|annex"
    r"|titles?|phases?|types?|levels?|"
    r"classes|class|stages?|tables?|figures?|scenes?|grades?|schedules?|cantos?|tiers?|wars?)"
    rf" )(?P<roman>{numerals.ROMAN})(?!\w)"
    r"|(?<!\w)(?P<alone>(?=[IVX]{2})X{0,3}(?:I[XV]|V?I{0,3}))(?!\w)|第(?P<chinese>[IVX]+)(?=[章节部卷编条])",
    re.ASCII,
)
_MEASURES = (
    "个名位家台辆艘本册张间栋座件份人口号楼层页章节条部卷编期届"
    "场项款篇课级门只支头匹棵株颗粒对双组排班幅首把副步点种代片杯瓶盒包袋箱碗勺盘滴球站局轮圈胜票席所幢架枚桶罐根条股串趟车卷套户"
)


def numbers(text: str) -> list[Quantity]:
    """Numbers in digits, words and Roman numerals, with their units; those that overlap are sorted out later."""
    found = []
    for match in _ROMAN.finditer(text):
        name = next(name for name in ("roman", "alone", "chinese") if match[name])
        value = frozenset((numerals.roman(match[name]),))
        found.append(Quantity(match.start(name), match.end(name), value, frozenset((v, "") for v in value)))
    position = 0
    while (at := _NUMBER.search(text, position)) is not None:
        position = at.end()
        if (quantity := _number(text, at)) is not None:
            found.append(quantity)
            position = max(position, quantity.end)
    return found


def _number(text: str, match: re.Match[str]) -> Quantity | None:
    ordinal = bool(match["th"] or match["ordinal"]) or _is_day_of_month(text, match.start(), match.end())
    required = True
    if match["han"]:
        if not _is_number(text, match):
            if match["han"] != "一" or text[match.end() : match.end() + 1] not in (
                *_MEASURES,
                *"次层成节点里分度",
            ):
                return None
            required = False  # as an article; but 1粒 is there
        values = numerals.han(match["han"])
        if match["th"] and values == {1}:  # 第一班车, 第一次使用
            required = text[match.end() : match.end() + 1] not in (*"班趟次批",)
    elif match["digits"]:
        values = numerals.digits(match["digits"])
    else:
        word = match["words"].lower()
        values, ordinal = numerals.words(word)
        required = not (word == "one" and not _counts(text, match.end()))
        if word == "second" and _PER.search(text[: match.start()]):
            return None  # a unit
        if word in ("first", "second"):
            required = bool(_IN_ORDER.match(text, match.end()))
    currency = match["currency"] or match["currency_after_sign"] or ""
    if scale := (match["scale"] or "").strip(" -"):
        if scale == "m" and not currency:
            quantity = with_unit(text, match.start(), match.start("scale"), values)
            return replace(quantity, required=required)
        factor = {"k": 10**3, "m": 10**6}.get(scale.lower()) or numerals.SCALES[
            scale.lower().removesuffix("s")
        ]
        values = frozenset(value * factor for value in values)
    if match["sign"]:
        values = frozenset(-value for value in values)
    end = match.end()
    quantity = with_unit(text, match.start(), end, values, currency)
    start = quantity.start + len(match[0]) - len(match[0].lstrip())
    written = match["digits"] if match["digits"] and re.fullmatch(r"\d+(?:\.\d+)*", match["digits"]) else ""
    counted = _counted(text, quantity.end) if quantity.bare and not ordinal else ""
    named = not ordinal and quantity.bare and _NAMES_NUMBER.search(text[:start].rstrip()) is not None
    return replace(
        quantity,
        start=start,
        ordinal=ordinal,
        required=required,
        written=written,
        counted=counted,
        named=named,
        change=_CHANGE.search(text[:start]) is not None,
        closes=quantity.bare and _CLOSES.match(text, quantity.end) is not None,
    )


_CHANGE = re.compile(
    r"(?:\b(?:by|up|down|grew|rose|gained|fell|increased?|decreased?|growth of|more|less)"
    r"|增长|上涨|增加|提高|上升|下降|减少|降低|增幅|降幅)"
    r"了?(?:约|近)?\s*$"
)
_CLOSES = re.compile(r"\s*(?:[,;.，；。、)）](?!\d)|$)")
_DAY_OF_MONTH = re.compile(r"[每当上下本次]个?月$")
_NAMES_NUMBER = re.compile(
    r"\b(?i:day|week|month|year|hour|floor|level|storey|chapter|page|part|section|round|lap|place|lesson|unit|step|stage"
    r"|platform|row|line|lane|phase|quarter|season|grade|rank|position|number|no\.|version|release)$"
)


def _counted(text: str, end: int) -> str:
    """The stem of the word behind a number, or the Chinese measure that says what is counted."""
    if text[end : end + 1] and text[end] in _MEASURES:
        return text[end] if text[end] not in "个名位人" else ""
    behind = re.match(r"[ -]([a-z]{3,})\b", text[end:])
    return stem(behind[1]) if behind and behind[1] not in STOP_WORDS else ""


_PER = re.compile(r"\b(?:per|each|a|every|one)[ -]?$")
_IN_ORDER = re.compile(
    r"[ -](?:floor|storey|day|week|month|year|quarter|half|page|chapter|part|volume|section|act"
    r"|edition|round|prize)\b"
)


def _counts(text: str, end: int) -> bool:
    """Whether `one` counts what follows: one office, but not `one of them`, `one can`, `the one that`."""
    after = re.match(r"[ -]([A-Za-z]+)", text[end:])
    return after is not None and after[1].lower() not in _AFTER_A_PRONOUN


_AFTER_A_PRONOUN_TEXT = """
of can could may might must should will would has have is was who that which where to in on at for from and or
another does did says said needs another thing
"""
_AFTER_A_PRONOUN = frozenset(_AFTER_A_PRONOUN_TEXT.split())


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
    between = re.match(rf"\s?[至到~～-]\s?(?:{numerals.HAN}|{numerals.DIGITS})", after)  # 六至十二岁
    unit = re.match(rf"\s?(?:多|余|来)?(?:{units.CHINESE})", after[between.end() :] if between else after)
    if token == "一":  # as the English article, but for true units
        return unit is not None and unit[0] not in ("次", "层", "成", "节", "点", "里", "分", "度", "周年")
    if unit:
        return token not in ("万", "百", "千") or text[: match.start()].endswith("每")
    if after[:1] and (after[0] in _MEASURES or (token in "两俩仨" and after[0] not in "会岸极性国者样手")):
        return True
    return len(token) > 1 and token not in ("万一", "一一") and not re.fullmatch("[十百千万亿]+", token)


def with_unit(text: str, start: int, end: int, values: numerals.Values, currency: str = "") -> Quantity:
    """The number that ends at `end` with the unit behind it, or the currency before it."""
    meant: tuple[Unit, ...] = units.units(currency) if currency else ()
    if currency in ("RMB", "人民币"):
        meant = (Unit("CNY"),)
    of_code = re.search(r"(?<![A-Za-z])[A-Za-z]\d+$", text[:end]) is not None  # N8周五 is no 8 weeks
    after = (
        None
        if of_code or _is_day_of_month(text, start, end) or (currency and not meant)
        else units.AFTER.match(text, end)
    )
    if after is not None:
        name = next(name for name in ("symbol", "word", "chinese") if after[name])
        behind = units.units(after[name])
        if not _is_unit(text, end, after, name, values):
            behind = ()
        if behind and (not meant or {u.base for u in behind} & {u.base for u in meant}):
            meant = tuple(u for u in behind if not meant or u.base in {m.base for m in meant})
            end = after.end()
    turned = _BELOW.match(text, end)
    of_heat = bool({unit.base for unit in meant} & {"°C", "°F", "degree"})
    if turned and (not meant or (of_heat and turned["zero"])):
        values, end = frozenset(-value for value in values), turned.end()
    if not meant:
        end += text[end : end + 1] == "年" and _is_year(text[:end], values)
        return Quantity(start, end, values, frozenset((value, "") for value in values))
    if meant == (Unit("price"),):  # 八五折 is 8.5折
        values = frozenset(value / 10 if value >= 10 else value for value in values)
    readings = frozenset((value * unit.factor, unit.base) for value in values for unit in meant)
    return Quantity(start, end, values, readings)


# 5 degrees below zero, 50 BC
_BELOW = re.compile(r"\s(?P<zero>below (?:zero|freezing))\b|\s?(?:BCE?\b|B\.C\.(?:E\.)?)")


def _is_day_of_month(text: str, start: int, end: int) -> bool:
    """每月5日 is the 5th, not 5 days."""
    return text[end : end + 1] in ("日", "号") and _DAY_OF_MONTH.search(text[:start].rstrip()) is not None


def _is_unit(text: str, end: int, after: re.Match[str], name: str, values: numerals.Values) -> bool:
    """Whether what follows a number is its unit: not 年 of 2015年, m of a word, `second` of `3 second-hand`."""
    written = after[name].strip()
    if written == "年" and _is_year(text[:end], values):
        return False
    if written.endswith(("星期", "周", "礼拜")) and text[after.end() : after.end() + 1] in tuple(
        "一二三四五六日天"
    ):
        return False  # 第一个星期三
    if name == "chinese" and written in ("里", "节", "成", "码", "回", "次", "分", "度", "块", "楼", "角"):
        follows = text[after.end() : after.end() + 1]
        if (
            written == "块"
            and "\u4e00" <= follows <= "\u9fff"
            and follows not in "钱多左以起的每一二三四五六七八九"
        ):
            return False  # 16块金牌
        return not (written == "里" and follows in "面边程") if follows else True
    return True


def _is_year(before: str, values: numerals.Values) -> bool:
    """Whether the number that ends there is a year of the calendar (2015年), not a time of years (5年)."""
    written = re.search(r"(?<!\d)\d{4}$|[零〇一二三四五六七八九]{4}$", before)
    return written is not None and all(1000 <= value <= 2100 for value in values)
