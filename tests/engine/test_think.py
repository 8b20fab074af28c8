"""The thought split from the answer, whatever the borders of the pieces."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightwright.engine.think import ThoughtStream, opens_thought


def split(pieces: list[str], is_open: bool = False) -> tuple[str, str]:
    stream = ThoughtStream(is_open=is_open)
    parts = [stream.push(piece) for piece in pieces] + [stream.flush()]
    return "".join(r for r, _ in parts), "".join(a for _, a in parts)


CASES = [
    (False, "<think>\nlet me\n see \n</think>\n\nYes.\n", ("let me\n see", "Yes.\n")),
    (False, " \n<think>a</think>b", ("a", "b")),
    (True, "\nlet me see\n</think>\n\nYes </think> <think>", ("let me see", "Yes </think> <think>")),
    (False, "No thought, 1 < 2 <think>x</think>", ("", "No thought, 1 < 2 <think>x</think>")),
    (False, "  leading space stays", ("", "  leading space stays")),
    (False, "<thinking>", ("", "<thinking>")),
    (False, "<thin", ("", "<thin")),
    (False, "<think>\n\n</think>\n\nAt once", ("", "At once")),
    (True, "never closed </thi  ", ("never closed </thi", "")),
    (True, "1 < 2 </b> </think>x", ("1 < 2 </b>", "x")),
    (True, "你好 </think>\n\n世界", ("你好", "世界")),
    (True, "</think>", ("", "")),
    (False, "", ("", "")),
]


@pytest.mark.parametrize(("is_open", "text", "expected"), CASES)
def test_a_thought_is_split_whole_and_character_by_character(
    is_open: bool, text: str, expected: tuple[str, str]
) -> None:
    assert split([text], is_open) == expected
    assert split(list(text), is_open) == expected


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", "</", "a", " ", "\n"]), max_size=9),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    is_open=st.booleans(),
)
def test_the_borders_of_pieces_do_not_matter(parts: list[str], cuts: list[int], is_open: bool) -> None:
    text = "".join(parts)
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(at)]
    assert split(pieces, is_open) == split([text], is_open)


def test_text_comes_as_soon_as_it_is_certain() -> None:
    stream = ThoughtStream(is_open=True)
    assert stream.push("so ") == ("so", "")
    assert stream.in_thought
    assert stream.push("it is</th") == (" it is", "")
    assert stream.push("ink>Yes") == ("", "Yes")
    assert not stream.in_thought
    assert stream.push(" it is ") == ("", " it is ")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<|assistant|>\n<think>\n", True),
        ("<｜Assistant｜><think>", True),
        ("<think>\n\n</think>\n\n", False),
        ("<|assistant|>", False),
    ],
)
def test_a_prompt_that_ends_in_an_open_thought_is_seen(prompt: str, expected: bool) -> None:
    assert opens_thought(prompt) is expected
