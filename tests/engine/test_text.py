"""Text from tokens: whole characters, spaces kept, stop strings across token borders."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from weightwright.engine.text import TextStream


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return AutoTokenizer.from_pretrained(tiny_model)


def stream(tokenizer, text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    out = TextStream(tokenizer, stop)
    pieces = []
    for token in tokenizer.encode(text):
        pieces.append(out.push(token))
        if out.stopped:
            return pieces, True
    return [*pieces, out.flush()], out.stopped


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufffd")))
def test_pieces_join_to_the_text_and_never_split_a_character(tokenizer, text: str) -> None:
    pieces, _ = stream(tokenizer, text)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab\n你", max_size=30), stop=st.text(alphabet="ab\n你", min_size=1, max_size=4))
def test_a_stop_text_ends_the_stream_before_it(tokenizer, text: str, stop: str) -> None:
    pieces, stopped = stream(tokenizer, text, (stop,))
    assert stopped == (stop in text)
    assert "".join(pieces) == text.split(stop, maxsplit=1)[0]


def test_text_that_may_begin_a_stop_is_held_back(tokenizer) -> None:
    pieces, _ = stream(tokenizer, "abX", ("abc",))
    assert pieces == ["", "", "abX", ""]


def test_an_unfinished_character_comes_out_at_the_end(tokenizer) -> None:
    out = TextStream(tokenizer)
    first = tokenizer.encode("你")[0]
    assert out.push(first) == ""
    assert out.flush() == "\ufffd"
