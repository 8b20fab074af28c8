"""Server-sent events: written a JSON object each, and read from a stream of bytes."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from typing import Any

# In JSON these may stand as they are, but a reader that takes them for ends of lines would tear the event.
_ESCAPED = str.maketrans({"\u2028": r"\u2028", "\u2029": r"\u2029", "\x85": r"\u0085"})
DONE = "[DONE]"


def event(values: Mapping[str, Any]) -> str:
    """One event."""
    text = json.dumps(values, ensure_ascii=False)
    return f"data: {text if text.isascii() else text.translate(_ESCAPED)}\n\n"


class Lines:
    r"""Bytes as they come, cut into lines: at \n, \r\n and \r alone, as the standard of events has it.

    `str.splitlines`, and httpx with it, also cut at U+2028, U+2029, U+0085 and others, which text may hold.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False  # a \n that comes next belongs to the \r that ended the last line

    def push(self, data: bytes) -> Iterator[str]:
        """The lines that are whole now."""
        if self._after_return and data:
            data, self._after_return = data.removeprefix(b"\n"), False
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, self._rest = (self._rest + data).split(b"\n")
        return (line.decode(errors="replace") for line in whole)

    def flush(self) -> Iterator[str]:
        """What is left at the end of the stream."""
        rest, self._rest = self._rest, b""
        return iter([rest.decode(errors="replace")] if rest else [])


async def read_events(stream: AsyncIterable[bytes]) -> AsyncIterator[Any]:
    """The JSON values of a stream of events, up to `[DONE]` or its end. Raises ValueError for what is no JSON.

    A value may be spread over several `data` lines; a server may leave out the empty line between two events.
    """
    held: list[str] = []
    async for line in _lines(stream):
        name, _, value = line.removeprefix("\ufeff").partition(":")
        if line and name != "data":  # a comment, or a field that says nothing here
            continue
        value = value.removeprefix(" ")
        if value.strip() == DONE and not held:
            return
        if line and value.strip():
            held.append(value)
        if not held:
            continue
        try:
            found = json.loads("\n".join(held))
        except ValueError:
            if line:
                continue  # more of it may come
            raise
        held.clear()
        yield found
    if held:
        yield json.loads("\n".join(held))


async def _lines(stream: AsyncIterable[bytes]) -> AsyncIterator[str]:
    lines = Lines()
    async for data in stream:
        for line in lines.push(data):
            yield line
    for line in lines.flush():
        yield line
