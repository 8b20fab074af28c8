"""Tokens to text as they come: whole characters only, and stop strings across token borders."""

from collections.abc import Callable, Sequence
from typing import Any

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
        tokenizer: Any,
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
            found = self._find(text)
            if found is not None:
                start, end = found
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
        found = []
        for stop in self._stop:
            start = text.find(stop, max(0, self._free - len(stop) + 1))
            if start >= 0:
                found.append((start + len(stop), start))
        if not found:
            return None
        end, start = min(found)
        return start, end


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could begin `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class TokenTexts:
    """The text of single tokens, for log-probabilities; each is decoded once."""

    def __init__(self, tokenizer: Any) -> None:
        self._decode = _decoder(tokenizer, skip_special_tokens=False)
        self._texts: dict[int, str] = {}

    def __call__(self, token_id: int) -> str:
        """The token's text, special tokens included; a piece of a character is U+FFFD."""
        text = self._texts.get(token_id)
        if text is None:
            text = self._texts[token_id] = self._decode([token_id])
        return text


def _decoder(tokenizer: Any, skip_special_tokens: bool) -> Callable[[list[int]], str]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and not getattr(tokenizer, "clean_up_tokenization_spaces", False):
        # what tokenizer.decode comes to in this case, at half the cost
        def fast(ids: list[int]) -> str:
            return str(backend.decode(ids, skip_special_tokens=skip_special_tokens))

        return fast

    def slow(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    return slow
