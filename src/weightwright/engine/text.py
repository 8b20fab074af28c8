"""Tokens to text as they come: whole characters only, and stop strings across token borders."""

import functools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from weightwright.ports import Tokenizer

_BROKEN = "\ufffd"  # what decoding gives for a character whose last bytes have not come yet
_CHARACTER_TOKENS = 8  # a character is at most 4 bytes; what is longer open is no character


class TextStream:
    """The text of one completion; `push` gives what is certain, `flush` the rest.

    A stop string counts where its last character comes after the first `min_tokens` tokens. The one that
    is whole first ends the text, and of those whole at once the longest, so the text does not depend on
    where the borders of tokens lie. `include_stop` leaves it in the text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        *,
        include_stop: bool = False,
        skip_special_tokens: bool = True,
        min_tokens: int = 0,
    ) -> None:
        self._decode = _decoder(tokenizer, skip_special_tokens)
        self._stop = tuple(s for s in stop if s)
        self._include_stop = include_stop
        self._min_tokens = min_tokens
        self._ids: list[int] = []  # the window: earlier tokens are out for good
        self._read = 0  # so many of the window's tokens are in `_window`
        self._window = ""
        self._pushed = 0
        self._held = ""  # decoded, but perhaps the beginning of a stop string
        self._free = 0  # characters at the start of `_held` in which no stop string may end
        self.stopped = False
        self.stop_reason: str | None = None
        """The stop string that ended the text."""

    def push(self, token_id: int) -> str:
        """The text that this token makes certain; "" while a character or a stop string is open."""
        self._ids.append(token_id)
        self._pushed += 1
        text = self._decode(self._ids)
        if text.endswith(_BROKEN) and len(self._ids) - self._read < _CHARACTER_TOKENS:
            return ""
        fresh = text[len(self._window) :]
        # The next window starts at the tokens just read, so that spaces between words survive.
        self._ids = self._ids[self._read :]
        self._read = len(self._ids)
        self._window = self._decode(self._ids)
        return self._release(fresh, last=False)

    def flush(self) -> str:
        """What is left at the end: held-back text and an unfinished character."""
        if self.stopped:
            return ""
        fresh = self._decode(self._ids)[len(self._window) :] if self._ids else ""
        self._ids, self._read, self._window = [], 0, ""
        return self._release(fresh, last=True)

    def _release(self, fresh: str, *, last: bool) -> str:
        if not self._stop:
            return fresh
        text = self._held + fresh
        if self._pushed > self._min_tokens:
            match = self._find(text)
            if match is not None:
                start, end = match
                self.stopped, self.stop_reason, self._held = True, text[start:end], ""
                return text[: end if self._include_stop else start]
        held = 0 if last else max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - held :]
        # text from before min_tokens stays free of stops for as long as it is held
        released = len(text) - held
        self._free = held if self._pushed <= self._min_tokens else max(0, self._free - released)
        return text[:released]

    def _find(self, text: str) -> tuple[int, int] | None:
        """Start and end of the stop string that is whole first, the longest of several."""
        matches = []
        for stop in self._stop:
            start = text.find(stop, max(0, self._free - len(stop) + 1))
            if start >= 0:
                matches.append((start + len(stop), start))
        if not matches:
            return None
        end, start = min(matches)
        return start, end


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could begin `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class TokenBytes:
    """The bytes of single tokens, for log-probabilities: those of a text's tokens joined are the text in UTF-8.

    A token may hold a part of a character, so its bytes come from the vocabulary's piece and not from a
    decoded text. Byte-level pieces (GPT-2, `Ġ` is a space) and those of SentencePiece (`▁`, `<0xE9>`)
    are read; the tokens of any other tokenizer are decoded one by one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._known: dict[int, bytes] = {}
        self._tokenizer, self._backend = tokenizer, getattr(tokenizer, "backend_tokenizer", None)
        decoders = _decoders(tokenizer)
        kinds = {str(decoder["type"]) for decoder in decoders}
        self._byte_level = "ByteLevel" in kinds
        self._pieces = bool(kinds) and kinds <= _PIECE_DECODERS
        self._spaces = tuple(decoder["replacement"] for decoder in decoders if decoder["type"] == "Metaspace")
        self._replaced = tuple(
            (decoder["pattern"]["String"], decoder["content"])
            for decoder in decoders if decoder["type"] == "Replace" and "String" in decoder["pattern"]
        )  # fmt: skip
        self.strips = bool(kinds & {"Metaspace", "Strip"})
        """The space in front of a text's first token is not in the text."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special = frozenset(token_id for token_id, token in added.items() if token.special)
        """Tokens that `skip_special_tokens` leaves out of the text."""

    def __call__(self, token_id: int) -> bytes:
        """The token's bytes, special tokens included; none for an id without a token."""
        known = self._known.get(token_id)
        if known is None:
            known = self._known[token_id] = self._read(token_id)
        return known

    def _read(self, token_id: int) -> bytes:
        if self._backend is None or not (self._byte_level or self._pieces):
            return str(self._tokenizer.decode([token_id], skip_special_tokens=False)).encode()
        piece = self._backend.id_to_token(token_id)
        if piece is None:
            return b""
        if self._byte_level:
            alphabet = _byte_alphabet()
            known = [alphabet[character] for character in piece if character in alphabet]
            return bytes(known) if len(known) == len(piece) else str(piece).encode()
        if _BYTE_PIECE.fullmatch(piece):
            return bytes([int(piece[3:5], 16)])
        for old, new in (*self._replaced, *((space, " ") for space in self._spaces)):
            piece = piece.replace(old, new)
        return str(piece).encode()


_PIECE_DECODERS = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
_BYTE_PIECE = re.compile("<0x[0-9A-Fa-f]{2}>")


def _decoders(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The steps by which a fast tokenizer decodes, as its file describes them; none for another."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return []
    state = json.loads(decoder.__getstate__())
    return list(state["decoders"]) if state["type"] == "Sequence" else [state]


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in byte-level vocabularies (GPT-2's `bytes_to_unicode`)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _decoder(tokenizer: Tokenizer, skip_special_tokens: bool) -> Callable[[list[int]], str]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and not getattr(tokenizer, "clean_up_tokenization_spaces", False):
        # what tokenizer.decode comes to in this case, at half the cost
        def fast(ids: list[int]) -> str:
            return str(backend.decode(ids, skip_special_tokens=skip_special_tokens))

        return fast

    def slow(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    return slow
