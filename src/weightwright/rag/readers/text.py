"""Plain text, Markdown and notebooks, in UTF-8, UTF-16 with its mark, or GB18030 where it is Chinese."""

import codecs
import json
import re

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.settings import LoadSettings

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROL = 0.001  # more control characters than this, and it is no text
_COMMON_CHINESE = 0.85  # share of GB2312's first level (3,755 common characters) among the Chinese ones
# about the hundred commonest; they make 40% of Chinese prose, and next to nothing of Korean read as Chinese
_COMMONEST = frozenset(
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用"
    "发天如然作方成者多日都三小二无同么经法当起与好看学进种将还分此心前面又定见只主没公从"
)
_LEAST_COMMONEST = 0.1
_HEADING = re.compile(r"^# +(.+?)[ #]*$", re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:\s*[\"']?(.*?)[\"']?\s*$", re.MULTILINE)


def read_plain(data: bytes, _settings: LoadSettings) -> Content:
    """Any text file: logs, CSV, source code, JSON, ..."""
    return Content(decode(data), "text")


def read_markdown(data: bytes, _settings: LoadSettings) -> Content:
    """Markdown; the title is the first heading's or the front matter's."""
    text = decode(data)
    front = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front[1]) if front else None
    heading = _HEADING.search(text)
    title = named[1] if named else heading[1] if heading else ""
    return Content(text, "markdown", title.strip())


def read_notebook(data: bytes, _settings: LoadSettings) -> Content:
    """A Jupyter notebook's Markdown and code, without outputs."""
    try:
        cells = json.loads(decode(data))["cells"]
        texts = [_joined(cell["source"]) for cell in cells if cell.get("cell_type") in ("markdown", "code")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            None, f"not a Jupyter notebook ({type(error).__name__}); expected JSON with cells"
        ) from error
    text = clean("\n\n".join(part for part in texts if part.strip()))
    heading = _HEADING.search(text)
    return Content(text, "notebook", heading[1].strip() if heading else "")


def decode(data: bytes) -> str:
    """Bytes to text with `\\n` line ends. Raises DataError where they are no text in a known encoding."""
    if data.startswith(_UTF_16):
        return _checked(_strictly(data, "utf-16"), "UTF-16")
    try:
        return _checked(data.decode("utf-8-sig"), "UTF-8")
    except UnicodeDecodeError as error:
        chinese = _chinese(data)
        if chinese is not None:
            return _checked(chinese, "GB18030")
        raise DataError(
            None,
            f"not UTF-8 (byte {data[error.start]:#04x} at position {error.start}), neither UTF-16 nor "
            "Chinese GB18030; convert it to UTF-8",
        ) from error


def clean(text: str) -> str:
    """`\\n` line ends, no NUL, and nothing that UTF-8 cannot hold (lone surrogates)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", " ")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            None, f"begins like {encoding.upper()} but is not ({error.reason}); convert it to UTF-8"
        ) from error


def _checked(text: str, encoding: str) -> str:
    """Cleaned text. Raises DataError where so many control characters mean binary data."""
    text = text.replace("\f", "\n")
    control = len(_CONTROL.findall(text))
    if control > _MOST_CONTROL * len(text):
        raise DataError(
            None, f"not text ({control} control characters in {len(text)} characters of {encoding})"
        )
    return clean(text)


def _chinese(data: bytes) -> str | None:
    """Text in GB18030 if the bytes decode cleanly and nearly all its Chinese characters are common ones."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    wide = [character for character in text if ord(character) > 0x7F]
    han = [character for character in wide if "\u3400" <= character <= "\u9fff"]
    common = sum(
        0xB0 <= character.encode("gb18030")[0] <= 0xD7 and _second_byte(character) for character in han
    )
    commonest = sum(character in _COMMONEST for character in han)
    if not han or len(han) < 0.5 * len(wide):
        return None
    if common < _COMMON_CHINESE * len(han) or commonest < _LEAST_COMMONEST * len(han):
        return None
    return text


def _second_byte(character: str) -> bool:
    code = character.encode("gb18030")
    return len(code) == 2 and code[1] >= 0xA1


def _joined(source: object) -> str:
    return source if isinstance(source, str) else "".join(map(str, source))  # type: ignore[call-overload]
