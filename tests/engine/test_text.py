"""Text from tokens: whole characters, spaces kept, stop strings across token borders."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from weightwright.engine.text import TextStream, TokenBytes


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return AutoTokenizer.from_pretrained(tiny_model)


def stream(tokenizer, text: str, stop: tuple[str, ...] = (), **options) -> tuple[list[str], bool]:
    out = TextStream(tokenizer, stop, **options)
    pieces = []
    for token in tokenizer.encode(text):
        pieces.append(out.push(token))
        if out.stopped:
            return pieces, True
    return [*pieces, out.flush()], out.stopped


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufffd")))
def test_pieces_join_to_the_text_and_never_split_a_character(tokenizer, text: str) -> None:
    pieces, _ = stream(tokenizer, text, skip_special_tokens=False)
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


@pytest.mark.parametrize("text", ["你好，世界", "a😀b👩‍👩‍👧", "é ê ñ", "𝄞 music"])
def test_each_character_comes_with_its_last_byte(tokenizer, text: str) -> None:
    pieces, _ = stream(tokenizer, text)
    assert [piece for piece in pieces if piece] == list(text)


def test_bytes_that_are_no_character_do_not_hold_the_text_back(tokenizer) -> None:
    out = TextStream(tokenizer)
    continuation = tokenizer.encode("你")[1]
    pieces = [out.push(continuation) for _ in range(100)]
    assert sum(map(len, pieces)) > 80
    assert len(out._ids) < 20
    assert out.push(tokenizer.encode("a")[0]).endswith("a")


def with_tokens(*texts: str) -> PreTrainedTokenizerFast:
    """A tokenizer of these tokens."""
    inner = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(texts)}, merges=[]))
    inner.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


@pytest.mark.parametrize(
    ("text", "stops", "shown", "reason"),
    [
        ("abcde", ("abcde", "bc"), "a", "bc"),
        ("xabc", ("bc", "abc"), "x", "abc"),
        ("你好。再见", ("。", "再"), "你好", "。"),
        ("ab", ("c",), "ab", None),
    ],
)
def test_the_stop_that_is_whole_first_ends_the_text(tokenizer, text, stops, shown, reason) -> None:
    for options, expected in (({}, shown), ({"include_stop": True}, shown + (reason or ""))):
        one_by_one = TextStream(tokenizer, stops, **options)
        pieces = []
        for token in tokenizer.encode(text):
            pieces.append(one_by_one.push(token))
            if one_by_one.stopped:
                break
        assert "".join([*pieces, one_by_one.flush()]) == expected
        assert one_by_one.stop_reason == reason
        at_once = TextStream(with_tokens(text), stops, **options)
        assert at_once.push(0) + at_once.flush() == expected
        assert at_once.stop_reason == reason


def test_a_stop_counts_only_after_min_tokens(tokenizer) -> None:
    def shown(text: str, min_tokens: int, stop: str = "ab") -> str:
        return "".join(stream(tokenizer, text, (stop,), min_tokens=min_tokens)[0])

    assert shown("ab.ab.", 0) == ""
    assert shown("ab.ab.", 2) == "ab."
    assert shown("ab.ab.", 4) == "ab."  # the stop's last letter is the fifth token
    assert shown("ab.ab.", 5) == "ab.ab."
    assert shown("aaab", 3, "aab") == "a"
    assert shown("aaa", 3, "aa") == "aaa"
    assert shown("aaaa", 3, "aa") == "aa"
    # held back as the beginning of another stop, it stays too early
    for text, expected in (("abxab", "abx"), ("abcxab", "abcx")):
        assert "".join(stream(tokenizer, text, ("ab", "abcd"), min_tokens=2)[0]) == expected


def test_special_tokens_are_shown_where_asked_for(tokenizer) -> None:
    ids = [*tokenizer.encode("a"), tokenizer.eos_token_id, *tokenizer.encode("b")]
    for skip, expected in ((True, "ab"), (False, "a<|im_end|>b")):
        out = TextStream(tokenizer, skip_special_tokens=skip)
        assert "".join([*map(out.push, ids), out.flush()]) == expected


def test_spaces_between_words_survive_a_tokenizer_that_joins_with_spaces() -> None:
    out = TextStream(with_tokens("▁the", "▁cat", "s"))
    assert [out.push(token) for token in (0, 1, 2, 1)] == ["the", " cat", "s", " cat"]


def test_a_push_decodes_a_bounded_window(tokenizer) -> None:
    out = TextStream(tokenizer)
    sizes = []
    decode = out._decode
    out._decode = lambda ids: sizes.append(len(ids)) or decode(ids)
    for token in tokenizer.encode("a long text 你好 " * 100):
        out.push(token)
    assert max(sizes) <= 8


def test_bytes_of_tokens_joined_are_the_text(tokenizer) -> None:
    spelt = TokenBytes(tokenizer)
    for text in ("plain", "😀é中\u2028\x00 ", "<|im_start|>user\ncafé<|im_end|>"):
        ids = tokenizer.encode(text)
        assert b"".join(map(spelt, ids)) == text.encode()
    assert [spelt(token) for token in tokenizer.encode("é")] == [b"\xc3", b"\xa9"]
    assert spelt(tokenizer.eos_token_id) == b"<|im_end|>"
    assert spelt(10**6) == b""


@pytest.mark.parametrize(
    "decoder",
    [
        decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
        ]),
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]),
    ],
)  # fmt: skip
def test_bytes_of_sentencepiece_tokens(decoder) -> None:
    tokenizer = with_tokens("▁the", "▁cat", "s", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0x0A>", "é")
    tokenizer.backend_tokenizer.decoder = decoder
    spelt = TokenBytes(tokenizer)
    assert [spelt(token) for token in range(9)] == [
        b" the", b" cat", b"s", b"\xf0", b"\x9f", b"\x98", b"\x80", b"\n", "é".encode()
    ]  # fmt: skip


def test_a_tokenizer_without_pieces_that_are_known_gives_what_it_decodes() -> None:
    tokenizer = with_tokens("the", "##s")
    tokenizer.backend_tokenizer.decoder = decoders.WordPiece()
    assert [TokenBytes(tokenizer)(token) for token in (0, 1)] == [b"the", b"##s"]
