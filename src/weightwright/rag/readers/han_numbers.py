"""Numbers in Chinese characters, as formats of spreadsheets ask for them (DBNum1 to DBNum3)."""

_DIGITS = {"1": "〇一二三四五六七八九", "2": "零壹贰叁肆伍陆柒捌玖", "3": "０１２３４５６７８９"}
_UNITS = {"1": ("", "十", "百", "千"), "2": ("", "拾", "佰", "仟")}
_GROUPS = ("", "万", "亿", "万亿")
_ZERO = {"1": "〇", "2": "零"}


def han_digits(text: str, form: str) -> str:
    """Each digit for itself: 2024 is 二〇二四 (form 1), 贰零贰肆 (2), ２０２４ (3)."""
    return text.translate({ord("0") + digit: sign for digit, sign in enumerate(_DIGITS[form])})


def han_number(number: int, form: str) -> str:
    """Counted: 123 is 一百二十三 (form 1), 壹佰贰拾叁 (2); 12 is 十二, form 3 has wide digits."""
    if form == "3" or number >= 10 ** (4 * len(_GROUPS)) or number < 0:
        return han_digits(str(number), form)
    if number == 0:
        return _ZERO[form]
    out, groups = "", []
    while number:
        number, group = divmod(number, 10_000)
        groups.append(group)
    for place in range(len(groups) - 1, -1, -1):
        group = groups[place]
        if group:
            zero = _ZERO[form] if out and (group < 1000 or out.endswith(_ZERO[form])) else ""
            out = out.rstrip(_ZERO[form]) + zero + _below_10000(group, form) + _GROUPS[place]
    return out.removeprefix("一") if form == "1" and out.startswith("一十") else out


def _below_10000(number: int, form: str) -> str:
    out, digits = "", f"{number:04}"
    for place, digit in enumerate(digits):
        if digit != "0":
            gap = _ZERO[form] if out and digits[place - 1] == "0" else ""
            out += gap + _DIGITS[form][int(digit)] + _UNITS[form][3 - place]
    return out
