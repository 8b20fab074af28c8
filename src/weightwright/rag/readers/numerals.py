"""The numbers of list items: 4, d, IV, 四."""

_ROMAN = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
          (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))  # fmt: skip
_MOST_ROMAN = 3999
_HAN = "〇一二三四五六七八九"


def numeral(number: int, form: str) -> str:
    """A number in a form that HTML (`a`, `A`, `i`, `I`) or Word (`lowerLetter`, `chineseCounting`) names."""
    if number >= 1:
        match form:
            case "a" | "lowerLetter":
                return _letters(number).lower()
            case "A" | "upperLetter":
                return _letters(number)
            case "i" | "lowerRoman":
                return _roman(number).lower()
            case "I" | "upperRoman":
                return _roman(number)
            case "decimalZero":
                return f"{number:02}"
            case "none":
                return ""
        if form.startswith(("chinese", "japanese", "ideograph", "taiwanese")) and number < 100:
            return _chinese(number)
    return str(number)


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


def _chinese(number: int) -> str:
    tens, ones = divmod(number, 10)
    before = "" if tens == 0 else "十" if tens == 1 else f"{_HAN[tens]}十"
    return before + (_HAN[ones] if ones or not tens else "")
