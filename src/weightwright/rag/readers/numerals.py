"""The numbers of list items: 4, d, IV, 四."""

from collections.abc import Callable

_ROMAN = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
          (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))  # fmt: skip
_MOST_ROMAN = 3999
_HAN = "〇一二三四五六七八九"
_LEGAL = "零壹贰叁肆伍陆柒捌玖"
_LEGAL_TRADITIONAL = "零壹貳參肆伍陸柒捌玖"
_MOST_HAN = 9999
_ROWS = {  # forms that count through a row of signs
    "ideographTraditional": "甲乙丙丁戊己庚辛壬癸",
    "ideographZodiac": "子丑寅卯辰巳午未申酉戌亥",
    "decimalEnclosedCircle": "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳",
    "decimalEnclosedCircleChinese": "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳",
    "aiueo": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    "aiueoFullWidth": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    "iroha": "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセス",
    "ganada": "가나다라마바사아자차카타파하",
    "chosung": "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ",
    "russianLower": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "russianUpper": "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ",
}
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def numeral(number: int, form: str) -> str:
    """A number in a form that HTML (`a`, `A`, `i`, `I`) or Word (`lowerLetter`, `chineseCounting`) names."""
    if number < 1:
        return str(number)
    make = _FORMS.get(form)
    if make is not None:
        return make(number)
    row = _ROWS.get(form)
    if row is not None:
        return row[number - 1] if number <= len(row) else str(number)
    if form.startswith("chineseLegal"):
        return _chinese(number, _LEGAL, "拾佰仟")
    if form.startswith(("chinese", "japanese", "taiwanese")):
        return _chinese(number, _HAN, "十百千")
    return str(number)


def _doubled(number: int) -> str:
    """Word goes on behind Z with AA, BB, CC."""
    return chr(ord("A") + (number - 1) % 26) * ((number - 1) // 26 + 1)


def _ordinal(number: int) -> str:
    return f"{number}{'th' if number // 10 % 10 == 1 else _ENDINGS.get(number % 10, 'th')}"


def _letters(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _roman(number: int) -> str:
    if number > _MOST_ROMAN:
        return str(number)
    roman = ""
    for value, sign in _ROMAN:
        roman += sign * (number // value)
        number %= value
    return roman


def _chinese(number: int, digits: str, units: str) -> str:
    """十一, 一百二十三, 一千零五."""
    if number > _MOST_HAN:
        return str(number)
    zero = "零"
    out, places = "", len(str(number))
    for at, digit in enumerate(map(int, str(number))):
        place = places - 1 - at
        if digit:
            out += digits[digit] + (units[place - 1] if place else "")
        elif out and not out.endswith(zero):
            out += zero
    out = out.removesuffix(zero)
    return out[1:] if 10 <= number < 20 and digits == _HAN else out


_FORMS: dict[str, Callable[[int], str]] = {
    "a": lambda number: _letters(number).lower(),
    "A": _letters,
    "lowerLetter": lambda number: _doubled(number).lower(),
    "upperLetter": _doubled,
    "i": lambda number: _roman(number).lower(),
    "lowerRoman": lambda number: _roman(number).lower(),
    "I": _roman,
    "upperRoman": _roman,
    "decimalZero": lambda number: f"{number:02}",
    "ordinal": _ordinal,
    "none": lambda _number: "",
    "ideographLegalTraditional": lambda number: _chinese(number, _LEGAL_TRADITIONAL, "拾佰仟"),
    "ideographDigital": lambda number: "".join(_HAN[int(digit)] for digit in str(number)),
}
