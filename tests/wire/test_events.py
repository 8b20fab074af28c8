"""Events are cut at the ends of lines that the standard names, wherever the network cuts them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.wire.events import Lines, event, read_events

TORN = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei é天😀"


def events_of(*chunks: bytes) -> list[Any]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collected() -> list[Any]:
        return [one async for one in read_events(stream())]

    return asyncio.run(collected())


def raw(value: Any) -> str:
    """As a server writes it that escapes nothing that it need not."""
    return json.dumps(value, ensure_ascii=False)


@given(st.data())
def test_an_event_is_whole_wherever_it_is_cut(data: st.DataObject) -> None:
    values = [{"text": TORN}, {"text": data.draw(st.text(max_size=9))}]
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    stream = "".join(f": comment{end}event: x{end}data: {raw(value)}{end}{end}" for value in values).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert events_of(*chunks) == values
    assert events_of(*(bytes([byte]) for byte in stream)) == values


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\xc3", b"\xa9"]), max_size=12).map(b"".join),
    st.lists(st.integers(0, 24), max_size=4),
)
def test_lines_do_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    def lines(*chunks: bytes) -> list[str]:
        cutter = Lines()
        return [line for chunk in chunks for line in cutter.push(chunk)] + list(cutter.flush())

    places = [0, *sorted(cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(places)]
    assert lines(*chunks) == lines(data)
    ended = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n").split(b"\n")
    assert lines(data) == ([] if not data else [line.decode(errors="replace") for line in ended])


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        (b'data: {"a": 1}\n\ndata: [DONE]\n\ndata: {"b": 2}\n\n', [{"a": 1}]),
        (b'data:{"a":1}\n\ndata:[DONE]\n\n', [{"a": 1}]),
        (b'\xef\xbb\xbfdata: {"a": 1}\n\n', [{"a": 1}]),
        (b'data: {"a": 1}\ndata: {"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b'data: {\ndata: "a": 1\ndata: }\n\n', [{"a": 1}]),
        (b'event: message\nid: 5\nretry: 9\ndata: {"a": 1}\n\n', [{"a": 1}]),
        (b": ping\n\n: ping\n\n", []),
        (b"data:\n\ndata: \n\n", []),
        (b'data: {"a": 1}', [{"a": 1}]),
        (b"", []),
    ],
)
def test_what_servers_send_is_read(stream: bytes, values: list) -> None:
    assert events_of(stream) == values


@pytest.mark.parametrize("stream", [b"data: {nonsense\n\n", b'data: {"a": \n\n', b"data: {"])
def test_what_is_no_json_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting"):
        events_of(stream)


def test_an_event_of_ours_is_one_line_to_every_reader() -> None:
    written = event({"text": TORN})
    assert len(written.rstrip("\n").splitlines()) == 1
    assert json.loads(written.removeprefix("data: ")) == {"text": TORN}
    assert "é天😀" in written
