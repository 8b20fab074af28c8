"""JSON, JSON lines that are no corpus, YAML and TOML: kept as written, long lines laid out over several."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from weightwright.errors import DataError
from weightwright.errors import Place as FilePlace
from weightwright.ports import Block, Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import clean, decode
from weightwright.rag.readers.text import without_data
from weightwright.rag.settings import LoadSettings

_LONG_LINE = 400  # characters; a longer one cannot be cited by its number


def read_json(data: bytes, _settings: LoadSettings) -> Content:
    """JSON with its lines; one that is written on a few long lines, or escapes its letters, is laid out."""
    text = decode(data)
    longest = max(map(len, text.split("\n")), default=0)
    if longest <= _LONG_LINE and "\\u" not in text:
        return Content(without_data(text), "json", places=(Place(0, "", lines=1),))
    try:
        laid_out = _laid_out(_parsed(text))
    except (ValueError, RecursionError):
        return Content(without_data(text), "json", places=(Place(0, "", lines=1),))
    return Content(without_data(clean(laid_out)), "json")


def read_json_lines(data: bytes, _settings: LoadSettings) -> Content:
    """A record a line, each a place and a block that stays whole where it fits."""
    parts: list[str] = []
    places: list[Place] = []
    blocks: list[Block] = []
    length = 0
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = _parsed(line)
            text = _on_one_line(value) if len(line) <= _LONG_LINE else _laid_out(value)
        except (ValueError, RecursionError) as error:
            if not parts:
                raise DataError(
                    FilePlace(line=number), f"not JSON ({error}); expected a value a line"
                ) from error
            text = line
        text = without_data(clean(text))
        places.append(Place(length, f"line {number}"))
        blocks.append(Block("code", length, length + len(text)))
        parts.append(text)
        length += len(text) + 1
    return Content("\n".join(parts), "json", places=tuple(places), blocks=tuple(blocks))


@dataclass(frozen=True, slots=True)
class _Number:
    """A number as it is written: 1.10 stays so, and 1e400 does."""

    text: str


class _Pairs(list[tuple[str, object]]):
    """An object's keys and values; a key may stand twice."""


def _parsed(text: str) -> object:
    """JSON with its numbers as they are written. Raises ValueError where it is none."""
    return json.loads(
        text, parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_Pairs
    )


def _laid_out(value: object) -> str:
    return "".join(_written(value, "\n", ","))


def _on_one_line(value: object) -> str:
    return "".join(_written(value, "", ", "))


def _written(value: object, gap: str, comma: str) -> Iterator[str]:
    """JSON; `gap` begins a line of the outermost level, "" writes everything on one."""
    inner = f"{gap} " if gap else ""
    if isinstance(value, _Number):
        yield value.text
    elif isinstance(value, list):
        pairs = isinstance(value, _Pairs)
        yield "{" if pairs else "["
        for number, item in enumerate(value):
            yield (comma if number else "") + inner
            if pairs:
                yield f"{json.dumps(item[0], ensure_ascii=False)}: "
            yield from _written(item[1] if pairs else item, inner, comma)
        yield (gap if value else "") + ("}" if pairs else "]")
    else:
        yield json.dumps(value, ensure_ascii=False)
