"""Bytes to text: marks, declared labels (WHATWG Encoding Standard), valid UTF-8 before any guess, then a guess.

Labels and guesses are those of web browsers (webencodings, chardetng). What an encoding has no character for
becomes U+FFFD; the rest is kept.
"""

import codecs
import re

from weightwright.errors import DataError
from weightwright.rag.readers.encoding_rare import is_thai, seven_bits

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's mark does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROL = 0.001  # more control characters than this, and it is no text
_MOST_BROKEN = 0.02  # share of characters beyond ASCII that may be undecodable in a text file
_CODECS = {  # what the standard's decoders read beyond Python's codecs of the same names
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "ascii": "cp1252",
}
_MULTIBYTE = frozenset(("gb18030", "cp932", "cp949", "big5hkscs", "euc_jp"))
_PLAUSIBLE = re.compile(
    r"[\n\r\t -~\u00a0-\u017f\u0370-\u06ff\u2010-\u2027\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffee]"
)
_PLAUSIBLE_SHARE = 0.95
_WIDE_SEEN = 4096  # bytes
_GUESSED_FROM = 1_000_000  # bytes
# about the hundred commonest; they make 40% of Chinese prose, and next to nothing of Korean read as Chinese
_COMMONEST = frozenset(
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用"
    "发天如然作方成者多日都三小二无同么经法当起与好看学进种将还分此心前面又定见只主没公从"
)
_COMMONEST_HANGUL = frozenset(
    "이다는을가의에하고지한도로은자사기리나인어대서를시해아수일그정제보부들것었있만상라게구주동스전여과원장모비으조경세위신"
    "안유연성우오거문화계무소공선진방관생국학실민영회중재법김박최직급년월용내번호명금입출고려했습니면까네요와교육결행개발"
    "배송품목휴청강남북울특별체불현복합산차분견결항직처추천"
)
_HIGH_WORD = re.compile(rb"(?<![A-Za-z\xc0-\xff])[\xc0-\xff]{3,}(?![A-Za-z\xc0-\xff])")
_NOT_RUSSIAN = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]|[\x80-\xa7\xa9-\xb7\xba-\xbf]")


def decode(data: bytes) -> str:
    """A text file's characters. Raises DataError where the bytes are no text."""
    encoding = _marked(data) or _wide(data)
    if encoding is not None:
        return _checked(_strictly(data, encoding), encoding)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _guessed_text(data)
    rare = seven_bits(data) if data.isascii() else None
    if rare is not None:
        return _checked(_or_else(data, rare, text), "UTF-8")
    if b"\x1b$" in data:
        return _checked(_or_else(data, "iso2022_jp_ext", text), "UTF-8")
    return _checked(text, "UTF-8")


def decode_web(data: bytes, declared: str | None) -> str:
    """A page's characters: as marked, as `declared` (a label), as valid UTF-8, or as browsers would guess."""
    encoding = _marked(data) or _declared(data, declared)
    if encoding is None:
        encoding = "utf-8" if _is_utf8(data) else guess(data)
    return lenient(data, encoding).removeprefix("\ufeff")


def lenient(data: bytes, encoding: str) -> str:
    """`data` in Python's codec `encoding`, U+FFFD for what it does not know."""
    return data.decode(encoding, _BEYOND if encoding in _MULTIBYTE else "replace")


def codec_of(label: str) -> str | None:
    """Python's codec for a label of the WHATWG Encoding Standard; None for one that it does not have."""
    import webencodings

    found = webencodings.lookup(label)
    if found is None or found.name in ("replacement", "x-user-defined"):
        return None
    name: str = found.codec_info.name
    return _CODECS.get(name, name)


def guess(data: bytes) -> str:
    """Python's codec for what a browser would take bytes without a label for; they are not UTF-8."""
    import chardetng_py

    if is_thai(data[:_GUESSED_FROM]):
        return "cp874"
    first = re.search(rb"[\x80-\xff\x1b]", data)  # a page may begin with a megabyte of ASCII
    begin = max(0, first.start() - 100) if first else 0
    detector = chardetng_py.EncodingDetector()
    detector.feed(data[begin : begin + _GUESSED_FROM], last=True)
    encoding = codec_of(detector.guess(tld=None, allow_utf8=False)) or "cp1252"
    if encoding == "cp949" and (_is_common_chinese(data) or _is_strange_korean(data)):
        return "gb18030"
    if encoding not in _MULTIBYTE and _is_japanese(data):
        return "cp932"
    if encoding == "cp1252" and _HIGH_WORD.search(data) and not _NOT_RUSSIAN.search(data):
        return "cp1251"  # a few words; no Western word consists of accented letters alone
    return encoding


# --- what the bytes say --------------------------------------------------------------------------------


def _marked(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: its zeros stand at the same places, and what it makes is letters."""
    start = data[:_WIDE_SEEN]
    if 0 not in start or len(data) % 2:
        return None
    at = [any(byte == 0 for byte in start[place::4]) for place in range(4)]
    if len(data) % 4 == 0 and not any(start[3::4]) and _reads(start, "utf-32-le"):
        return "utf-32-le"
    if len(data) % 4 == 0 and not any(start[0::4]) and _reads(start, "utf-32-be"):
        return "utf-32-be"
    if (at[0] or at[2]) == (at[1] or at[3]):
        return None
    encoding = "utf-16-le" if at[1] or at[3] else "utf-16-be"
    return encoding if _reads(start, encoding) else None


def _reads(start: bytes, encoding: str) -> bool:
    try:
        text = start.decode(encoding)
    except UnicodeDecodeError:
        return False
    return len(_PLAUSIBLE.findall(text)) >= _PLAUSIBLE_SHARE * len(text)


def _declared(data: bytes, label: str | None) -> str | None:
    """The codec of a declared label, unless the bytes are clearly UTF-8 that was labelled wrongly."""
    encoding = codec_of(label) if label else None
    if encoding is None or encoding.startswith("utf-16"):  # a page whose label could be read is not UTF-16
        return "utf-8" if encoding else None
    if encoding != "utf-8" and _is_utf8(data):
        wide = re.search(rb"[\xe0-\xf4][\x80-\xbf]{2}", data)
        if wide or (encoding not in _MULTIBYTE and re.search(rb"[\x80-\xff]", data)):
            return "utf-8"
    return encoding


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_japanese(data: bytes) -> bool:
    """Whether bytes that are no letters of Windows' Western sets make whole characters of Shift-JIS."""
    if not re.search(rb"[\x81-\x9f]", data):
        return False
    try:
        text = data[:_GUESSED_FROM].decode("cp932")
    except UnicodeDecodeError:
        return False
    return len(re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", text)) >= 2 and not re.search(
        r"[\uff61-\uff9f]", text
    )


def _is_common_chinese(data: bytes) -> bool:
    """Whether GB18030 makes of the bytes mostly Chinese characters that are among the commonest."""
    han = re.findall(r"[\u3400-\u9fff]", lenient(data[:_GUESSED_FROM], "gb18030"))
    return bool(han) and 2 * sum(character in _COMMONEST for character in han) >= len(han)


def _is_strange_korean(data: bytes) -> bool:
    """Whether Korean would be syllables that Korean hardly has, and GB18030 finds characters in all of it."""
    start = data[:_GUESSED_FROM]
    hangul = re.findall(r"[\uac00-\ud7a3]", lenient(start, "cp949"))
    chinese = lenient(start, "gb18030")
    common = sum(syllable in _COMMONEST_HANGUL for syllable in hangul)
    return (
        10 * common < 3 * len(hangul)
        and "\ufffd" not in chinese
        and bool(re.search(r"[\u4e00-\u9fff]", chinese))
    )


def _guessed_text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    beyond = sum(character > "\x7f" for character in text)
    if text.count("\ufffd") <= _MOST_BROKEN * beyond:
        return _checked(text, "UTF-8")
    encoding = guess(data)
    text = _checked(lenient(data, encoding), encoding)
    beyond = sum(character > "\x7f" for character in text)
    odd = text.count("\ufffd") + sum("\x80" <= character <= "\x9f" for character in text)
    if odd > _MOST_BROKEN * beyond:
        at = next(i for i, byte in enumerate(data) if byte > 0x7F)
        raise DataError(
            None,
            f"text in no encoding that is known (byte {data[at]:#04x} at position {at}; nearest: {encoding}, "
            f"{odd} bytes left over); convert it to UTF-8",
        )
    return text


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            None, f"begins like {encoding[:6].upper()} but is not ({error.reason}); convert it to UTF-8"
        ) from error


def _or_else(data: bytes, encoding: str, otherwise: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return otherwise


def _checked(text: str, encoding: str) -> str:
    """Cleaned text. Raises DataError where so many control characters mean binary data."""
    text = text.replace("\f", "\n").replace("\x1a", "")  # form feeds, and DOS's mark of the end
    control = len(_CONTROL.findall(text))
    if control > _MOST_CONTROL * len(text):
        raise DataError(
            None, f"not text ({control} control characters in {len(text)} characters of {encoding.upper()})"
        )
    return clean(text)


def clean(text: str) -> str:
    """`\\n` line ends, no NUL, and nothing that UTF-8 cannot hold (lone surrogates)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", " ")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


# --- what browsers decode and Python's codecs do not -----------------------------------------------------

_BEYOND = "weightwright-beyond"


def _beyond(error: UnicodeError) -> tuple[str, int]:
    """The euro sign of Windows' GBK (0x80), NEC's row 13 in EUC-JP (①, ㈱), Microsoft's Big5; else U+FFFD."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    pair = error.object[error.start : error.start + 2]
    if error.encoding == "gb18030" and pair[:1] == b"\x80":
        return "€", error.start + 1
    found = ""
    if error.encoding == "euc_jp" and len(pair) == 2 and min(pair) >= 0xA1:
        found = _shift_jis(pair).decode("cp932", "ignore")
    elif error.encoding == "big5hkscs" and len(pair) == 2:
        found = pair.decode("cp950", "ignore")
    if len(found) == 1 and found > "\x7f":
        return found, error.start + 2
    return "\ufffd", error.end if error.end > error.start else error.start + 1


def _shift_jis(pair: bytes) -> bytes:
    """The place of a character in JIS X 0208, from EUC-JP's bytes to Shift-JIS's."""
    row, column = pair[0] - 0xA1, pair[1] - 0xA1
    lead = row // 2 + (0x81 if row < 62 else 0xC1)
    trail = column + 0x9F if row % 2 else column + (0x40 if column < 63 else 0x41)
    return bytes((lead, trail))


codecs.register_error(_BEYOND, _beyond)
