"""Units, currencies and what else a number counts: their writings in English and Chinese, and what they are of.

A unit is converted to another only where that is exact and ordinary (km and m, weeks and days, %, 元 and 角);
°C and °F, GB and MB, and currencies stay what they are.
"""

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as `factor` times its base."""

    base: str
    factor: Fraction = Fraction(1)

    @property
    def name(self) -> str:
        """The unit in one word."""
        return f"{self.base}×{self.factor}"


# base: factor, symbols (as written), words (any case; a plural s may follow), Chinese
_TABLE: tuple[tuple[str, str, str, str, str], ...] = (
    ("m", "1000", "km", "kilometre kilometer", "公里 千米"),
    ("m", "1", "m", "metre meter", "米 公尺"),
    ("m", "1/10", "dm", "decimetre decimeter", "分米"),
    ("m", "1/100", "cm", "centimetre centimeter", "厘米 公分"),
    ("m", "1/1000", "mm", "millimetre millimeter", "毫米"),
    ("m", "1/1000000", "µm μm um", "micrometre micrometer micron", "微米"),
    ("m", "1/1000000000", "nm", "nanometre nanometer", "纳米"),
    ("m", "500", "", "", "里 华里"), ("light year", "1", "ly", "light-year", "光年"),
    ("mile", "1", "mi", "mile", "英里"),
    ("foot", "1", "ft", "foot feet", "英尺 尺"),
    ("foot", "1/12", "", "inch inches", "英寸"),
    ("foot", "3", "yd", "yard", "码"),
    ("nautical mile", "1", "nmi", "nautical-mile", "海里"),
    ("m2", "1", "m2 sqm", "square-metre square-meter", "平方米 平米"),
    ("m2", "1000000", "km2", "square-kilometre square-kilometer", "平方公里 平方千米"),
    ("m2", "1/10000", "cm2", "square-centimetre square-centimeter", "平方厘米"),
    ("m2", "10000", "ha", "hectare", "公顷"),
    ("mu", "1", "", "", "亩"),
    ("acre", "1", "", "acre", "英亩"),
    ("square foot", "1", "sqft ft2", "square-foot square-feet", "平方英尺"),
    ("square mile", "1", "", "square-mile", "平方英里"),
    ("m3", "1", "m3", "cubic-metre cubic-meter", "立方米"),
    ("m3", "1/1000", "l L", "litre liter", "升 公升"),
    ("m3", "1/100000", "cl", "centilitre centiliter", "厘升"),
    ("m3", "1/1000000", "ml mL", "millilitre milliliter", "毫升"),
    ("gallon", "1", "gal", "gallon", "加仑"),
    ("pint", "1", "", "pint", "品脱"),
    ("tablespoon", "1", "tbsp tbsps", "tablespoon", "汤匙 大勺"),
    ("teaspoon", "1", "tsp tsps", "teaspoon", "茶匙 小勺"),
    ("kg", "1000", "t", "tonne metric-ton", "吨"),
    ("ton", "1", "", "ton", ""),
    ("kg", "1", "kg", "kilogram kilogramme kilo", "公斤 千克"),
    ("kg", "1/2", "", "", "斤"),
    ("kg", "1/1000", "g", "gram gramme", "克"),
    ("kg", "1/1000000", "mg", "milligram milligramme", "毫克"),
    ("kg", "1/1000000000", "µg μg mcg", "microgram", "微克"),
    ("lb", "1", "lb lbs", "", "磅"),
    ("lb", "1/16", "oz", "ounce", "盎司"),
    ("s", "1/1000", "ms", "millisecond", "毫秒"),
    ("s", "1", "s sec secs", "second", "秒 秒钟"),
    ("s", "60", "min mins", "minute", "分钟"),
    ("s", "900", "", "", "刻钟"),
    ("s", "3600", "h hr hrs", "hour", "小时 个小时 钟头 个钟头"),
    ("s", "86400", "", "day", "天 日 工作日 个工作日 昼夜"),
    ("s", "604800", "wk wks", "week", "周 星期 个星期 礼拜 个礼拜"),
    ("s", "1209600", "", "fortnight", ""),
    ("month", "1", "", "month", "个月 个月份"),
    ("month", "3", "", "quarter", "个季度 季度"),
    ("month", "12", "yr yrs", "year annum", "年 岁 周年 周岁"),
    ("month", "120", "", "decade", ""),
    ("century", "1", "", "century centuries", "世纪 个世纪"),
    ("coulomb", "1", "", "coulomb", "库仑"),
    ("°C", "1", "°C ℃", "degree-celsius degrees-celsius celsius centigrade degrees-centigrade", "摄氏度"),
    ("°F", "1", "°F ℉ F", "degree-fahrenheit degrees-fahrenheit fahrenheit", "华氏度"),
    ("kelvin", "1", "K", "kelvin", "开尔文"),
    ("degree", "1", "°", "degree", ""),
    ("ratio", "1/100", "%", "percent per-cent pct", ""),
    ("percentage point", "1", "pp", "percentage-point", "个百分点 百分点"),
    ("percentage point", "1/100", "bp bps", "basis-point", "个基点 基点"),
    ("ratio", "1/1000", "‰", "permille per-mille", ""),
    ("ratio", "1/10", "", "", "成"), ("price", "1", "", "", "折"),
    ("m/s", "1", "m/s", "metres-per-second meters-per-second metre-per-second", "米/秒 米每秒"),
    ("m/s", "1000", "km/s", "kilometres-per-second kilometers-per-second", "公里/秒 千米/秒 公里每秒 千米每秒"),
    ("m/s", "5/18", "km/h kph kmh", "kilometres-per-hour kilometers-per-hour",
     "公里/小时 千米/小时 公里每小时 公里/时"),
    ("mile/h", "1", "mph", "miles-per-hour", "英里/小时"),
    ("knot", "1", "kn", "knot", ""),
    ("bit", "1", "", "bit", "比特"), ("byte", "1", "", "byte", "字节"),
    ("kB", "1", "KB kB", "kilobyte", ""), ("MB", "1", "MB", "megabyte", ""),
    ("GB", "1", "GB", "gigabyte", ""),
    ("TB", "1", "TB", "terabyte", ""), ("PB", "1", "PB", "petabyte", ""),
    ("KiB", "1", "KiB", "", ""), ("MiB", "1", "MiB", "", ""),
    ("GiB", "1", "GiB", "", ""), ("TiB", "1", "TiB", "", ""),
    ("kbit/s", "1", "kbit/s kbps Kbps", "", ""), ("Mbit/s", "1", "Mbit/s Mbps", "", ""),
    ("Gbit/s", "1", "Gbit/s Gbps", "", ""),
    ("W", "1", "W", "watt", "瓦 瓦特"), ("W", "1000", "kW", "kilowatt", "千瓦"),
    ("W", "1000000", "MW", "megawatt", "兆瓦"), ("W", "1000000000", "GW", "gigawatt", "吉瓦"),
    ("W", "1/1000", "mW", "", "毫瓦"),
    ("Wh", "1", "Wh", "watt-hour", "瓦时"), ("Wh", "1000", "kWh", "kilowatt-hour", "千瓦时 度电"),
    ("Wh", "1000000", "MWh", "megawatt-hour", "兆瓦时"),
    ("Wh", "1000000000", "GWh TWh", "gigawatt-hour", ""),
    ("V", "1", "V", "volt", "伏 伏特"), ("V", "1000", "kV", "kilovolt", "千伏"),
    ("V", "1/1000", "mV", "millivolt", "毫伏"),
    ("Nm", "1", "Nm N·m", "newton-metre newton-meter", "牛米 牛·米"),
    ("ohm", "1", "Ω", "ohm", "欧姆"),
    ("ohm", "1000", "kΩ", "kilohm kiloohm", "千欧"),
    ("ohm", "1000000", "MΩ", "megohm megaohm", "兆欧"), ("mmHg", "1", "mmHg", "", "毫米汞柱"),
    ("IU", "1", "IU", "", "国际单位"),
    ("mol", "1", "mol", "mole", "摩尔"), ("mol", "1/1000", "mmol", "millimole", "毫摩尔"),
    ("g/cm3", "1", "g/cm3 g/cc", "", "克/立方厘米 克每立方厘米"),
    ("g/cm3", "1/1000", "kg/m3", "", "千克/立方米 公斤/立方米 千克每立方米"),
    ("lux", "1", "lx", "lux", "勒克斯"), ("psi", "1", "psi", "", ""),
    ("A", "1", "A", "ampere amp", "安培"), ("A", "1/1000", "mA", "milliampere", "毫安"),
    ("mAh", "1", "mAh", "", "毫安时"),
    ("Hz", "1", "Hz", "hertz", "赫兹"), ("Hz", "1000", "kHz", "kilohertz", "千赫"),
    ("Hz", "1000000", "MHz", "megahertz", "兆赫"), ("Hz", "1000000000", "GHz", "gigahertz", ""),
    ("Pa", "1", "Pa", "pascal", "帕"), ("Pa", "1000", "kPa", "kilopascal", "千帕"),
    ("Pa", "1000000", "MPa", "", "兆帕"),
    ("bar", "1", "", "bar", "巴"), ("J", "1", "J", "joule", "焦耳"),
    ("J", "1000", "kJ", "kilojoule", "千焦"),
    ("cal", "1000", "kcal", "kilocalorie", "千卡 大卡"), ("cal", "1", "", "calorie", "卡路里"),
    ("dB", "1", "dB", "decibel", "分贝"), ("hp", "1", "hp", "horsepower", "马力"),
    ("N", "1", "N", "newton", "牛顿 牛"), ("N", "1000", "kN", "kilonewton", "千牛"),
    ("lumen", "1", "lm", "lumen", "流明"), ("pixel", "1", "px", "pixel", "像素"),
    ("dpi", "1", "dpi", "", ""),
    ("ppm", "1", "ppm", "", ""), ("rpm", "1", "rpm", "", "转/分"),
    ("carat", "1", "ct", "carat", "克拉"),
    ("page", "1", "", "page", "页"), ("times", "1", "", "time", "次 回 遍"),
    ("fold", "1", "", "fold", "倍"),
    ("floor", "1", "", "floor storey story stories", "层 楼"),
    ("EUR", "1", "€ EUR", "euro", "欧元"), ("USD", "1", "USD US$", "us-dollar", "美元 美金"),
    ("GBP", "1", "£ GBP", "pound-sterling pounds-sterling", "英镑"),
    ("JPY", "1", "JPY", "yen", "日元 日圆 日币"),
    ("CNY", "1", "CNY RMB CN¥", "yuan renminbi", "元 块 块钱 人民币 元人民币"),
    ("CNY", "1/10", "", "jiao", "角 毛 毛钱"),
    ("HKD", "1", "HKD HK$", "", "港元 港币"), ("TWD", "1", "TWD NT$", "", "新台币 台币"),
    ("AUD", "1", "AUD A$ AU$", "", "澳元 澳币"), ("CAD", "1", "CAD C$ CA$", "", "加元 加币"),
    ("SGD", "1", "SGD S$", "", "新加坡元 新元"), ("CHF", "1", "CHF", "franc", "瑞士法郎 法郎 瑞郎"),
    ("INR", "1", "₹ INR", "rupee", "卢比"), ("KRW", "1", "₩ KRW", "won", "韩元"),
    ("RUB", "1", "₽ RUB", "rouble ruble", "卢布"),
    ("SEK", "1", "SEK", "krona kronor", "瑞典克朗"), ("krone", "1", "NOK DKK", "krone kroner", "克朗"),
    ("PLN", "1", "PLN zł", "zloty złoty", "兹罗提"), ("CZK", "1", "CZK Kč", "koruna", ""),
    ("BRL", "1", "BRL R$", "real reais", "雷亚尔"),
    ("TRY", "1", "₺ TRY", "lira", "里拉"), ("THB", "1", "฿ THB", "baht", "泰铢"),
    ("peso", "1", "MXN", "peso", "比索"),
    ("USD", "1/100", "", "", "美分"), ("EUR", "1/100", "", "euro-cent eurocent", "欧分"),
    ("GBP", "1/100", "", "penny pence", "便士"), ("CNY", "1/100", "", "fen", ""),
)  # fmt: skip
# writings that stand for one of several
_DOLLARS = ("USD", "AUD", "CAD", "HKD", "SGD", "TWD", "dollar")
_AMBIGUOUS: dict[str, tuple[Unit, ...]] = {
    "$": tuple(Unit(name) for name in _DOLLARS),
    "dollar": tuple(Unit(name) for name in _DOLLARS),
    "pound": (Unit("GBP"), Unit("lb")),
    "cent": tuple(Unit(name, Fraction(1, 100)) for name in (*_DOLLARS, "EUR")),
    "¢": tuple(Unit(name, Fraction(1, 100)) for name in _DOLLARS),
    "¥": (Unit("CNY"), Unit("JPY")),
    "C": (Unit("°C"), Unit("coulomb")),
    "欧": (Unit("EUR"), Unit("ohm")),
    "度": (Unit("degree"), Unit("°C"), Unit("Wh", Fraction(1000))),
    "分": (Unit("s", Fraction(60)), Unit("point"), Unit("CNY", Fraction(1, 100))),
    "point": (Unit("point"), Unit("percentage point")),
}
_AS_WORDS = ("dollar", "pound", "point", "cent")
PREFIXES = (
    "$",
    "€",
    "£",
    "¥",
    "₹",
    "₩",
    "₽",
    "฿",
    "₺",
    "R$",
    "US$",
    "A$",
    "AU$",
    "C$",
    "CA$",
    "HK$",
    "NT$",
    "S$",
    "CN¥",
)


def _table() -> tuple[dict[str, tuple[Unit, ...]], dict[str, tuple[Unit, ...]], dict[str, tuple[Unit, ...]]]:
    symbols: dict[str, tuple[Unit, ...]] = {}
    words: dict[str, tuple[Unit, ...]] = {}
    chinese: dict[str, tuple[Unit, ...]] = {}
    for base, factor, signs, names, forms in _TABLE:
        unit = (Unit(base, Fraction(factor)),)
        symbols.update(dict.fromkeys(signs.split(), unit))
        words.update({name.replace("-", " "): unit for name in names.split()})
        chinese.update(dict.fromkeys(forms.split(), unit))
    for name, several in _AMBIGUOUS.items():
        (words if name in _AS_WORDS else symbols if name.isascii() or name in "¥¢" else chinese)[name] = (
            several
        )
    words.update({"us dollar": (Unit("USD"),), "degree": (Unit("degree"), Unit("°C"), Unit("°F"))})
    symbols["°"] = words["degree"]
    return symbols, words, chinese


_SYMBOLS, _WORDS, _CHINESE = _table()
CURRENCIES = frozenset(
    unit.base for name in (*PREFIXES, "CHF", "SEK", "NOK", "PLN", "CZK") for unit in _SYMBOLS[name]
) | {"JPY", "peso", "krone", "dollar"}  # fmt: skip
CODES = tuple(
    name for name in _SYMBOLS if len(name) == 3 and name.isupper() and _SYMBOLS[name][0].base in CURRENCIES
)


def _any(names: object) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))  # type: ignore[call-overload]


_PLURAL = r"(?:e?s)?(?!\w)"
# what may stand between a number and its unit: 25 working days, 20 US dollars
_BETWEEN = (
    r"(?:(?:full|whole|working|business|calendar|consecutive|paid|extra|additional|more|further|short|long|"
    r"Swiss|Japanese|Chinese|British|Russian|Indian|Norwegian|Danish|Polish|Canadian|Australian|Singapore|"
    r"Swedish|Czech|Icelandic|Mexican|Turkish|Brazilian|Korean|New Zealand|South African|Hong Kong)[ -])?"
)
AFTER = re.compile(
    rf"(?P<symbol>\s?(?:{_any(_SYMBOLS)})(?![A-Za-z0-9²³]|/\w))"
    rf"|[\s-]?{_BETWEEN}(?P<word>(?i:{_any(_WORDS)}){_PLURAL})"
    rf"|\s?(?:多|余|来|几)?(?P<chinese>{_any(_CHINESE)})"
)
PREFIX = rf"(?:{_any(PREFIXES)}|(?<![A-Za-z])(?:{_any(CODES)})|(?<![A-Za-z])(?:RMB|人民币))"
WORD = rf"(?i:{_any(_WORDS)}){_PLURAL}"
SYMBOLS = _any(_SYMBOLS)
CHINESE = _any(_CHINESE)
_MENTIONED = re.compile(rf"\b{WORD}|(?<![A-Za-z'’])(?:{_any(_SYMBOLS)})(?![A-Za-z])|{CHINESE}")


def units(written: str) -> tuple[Unit, ...]:
    """What a writing may stand for; nothing where it is no unit."""
    plain = written.strip(" -")
    for table in (_SYMBOLS, _CHINESE):
        if plain in table:
            return table[plain]
    word = re.sub(r"[ -]+", " ", plain).lower()
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _WORDS:
            return _WORDS[form]
    return ()


def mentioned(text: str) -> frozenset[str]:
    """All units that a text names, as `Unit.name` writes them."""
    found = {unit.name for match in _MENTIONED.finditer(text) for unit in units(match[0])}
    if _AGE.search(text):
        found.add(Unit("month", Fraction(12)).name)
    if _CHINESE_PRICE.search(text):
        found.add(Unit("CNY").name)
    return frozenset(found)


_AGE = re.compile(r"\b(?i:age[sd]?|old|older|younger)\b|over-|under-|年龄|年满|周岁")
_CHINESE_PRICE = re.compile("[价费薪租款]|金额|押金|奖金|罚金")
