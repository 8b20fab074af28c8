"""Encodings without a label that browsers do not guess: Thai in 8 bits, Chinese in HZ (RFC 1843), ISO-2022-KR."""

import re

_CONSONANT = rb"\xa1-\xce"
_MARK = rb"\xd1\xd4-\xda\xe7-\xee"  # vowels and tones above and below a consonant
_OTHER = re.compile(rb"[\x80-\xa0\xdb-\xde\xfc-\xff]")  # in no Thai text but quotation marks of Windows
_QUOTES = re.compile(rb"[\x85\x91-\x97\xa0]")
_PLACED = re.compile(rb"(?:[" + _CONSONANT + rb"])(?:[" + _MARK + rb"]{1,3})")
_MARKS = re.compile(rb"[" + _MARK + rb"]")
_LEAST_MARKS = 0.1  # share of the letters
_LEAST_LETTERS = 24  # fewer may be a few words of Chinese or Korean
_COMMONEST = "านรอกเงมยลวดทสตะปบคหใไแพจโช่้ีัิื์ุู".encode("cp874")  # nine of ten letters of Thai prose
_LEAST_COMMON = 0.8
_HZ = re.compile(rb"~\{((?:[!-w][!-~])+)~\}")


def is_thai(data: bytes) -> bool:
    """Whether the bytes beyond ASCII are Thai letters whose vowels and tones all stand on consonants."""
    high = re.findall(rb"[\x80-\xff]", data)
    marks = len(_MARKS.findall(data))
    common = sum(byte[0] in _COMMONEST for byte in high)
    if (
        len(high) < _LEAST_LETTERS
        or common < _LEAST_COMMON * len(high)
        or marks < _LEAST_MARKS * len(high)
        or _OTHER.search(_QUOTES.sub(b"", data))
    ):
        return False
    if re.search(rb"[A-Za-z][\xa1-\xfb]|[\xa1-\xfb][A-Za-z]", data):
        return False
    return sum(len(found) - 1 for found in _PLACED.findall(data)) == marks


def seven_bits(data: bytes) -> str | None:
    """The codec of Chinese or Korean text in bytes of ASCII alone; None for others."""
    if b"\x1b$)C" in data:
        return "iso2022_kr"
    found = _HZ.findall(data)
    if not found or b"~{" in _HZ.sub(b"", data):
        return None
    try:
        text = b"".join(found).translate(bytes(byte | 0x80 for byte in range(256))).decode("gb2312")
    except UnicodeDecodeError:
        return None
    return "hz" if len(re.findall(r"[\u4e00-\u9fff]", text)) * 2 >= len(text) else None
