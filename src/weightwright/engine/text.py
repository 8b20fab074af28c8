"""Tokens to text as they come: whole characters only, and stop strings across token borders."""

from collections.abc import Sequence
from typing import Any

_BROKEN = "\ufffd"  # what decoding gives for a character whose last bytes have not come yet


class TextStream:
    """The text of one completion; `push` gives what is certain, `flush` the rest."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(s for s in stop if s)
        self._ids: list[int] = []
        self._start = 0  # where the decoding window begins: earlier tokens are out for good
        self._window = ""  # the window's text as of `_read`
        self._read = 0
        self._held = ""  # decoded, but perhaps the beginning of a stop string
        self.stopped = False

    def push(self, token_id: int) -> str:
        """The text that this token makes certain; "" while a character or a stop string is open."""
        self._ids.append(token_id)
        text = self._decode(self._ids[self._start :])
        if text.endswith(_BROKEN) and len(self._ids) - self._read < 8:
            return ""
        fresh = text[len(self._window) :]
        # The next window starts at the tokens just read, so that spaces between words survive.
        self._start, self._read = self._read, len(self._ids)
        self._window = self._decode(self._ids[self._start :])
        return self._release(fresh, last=False)

    def flush(self) -> str:
        """What is left at the end: held-back text and an unfinished character."""
        if self.stopped:
            return ""
        fresh = self._decode(self._ids[self._start :])[len(self._window) :]
        self._start = self._read = len(self._ids)
        self._window = ""
        return self._release(fresh, last=True)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _release(self, fresh: str, *, last: bool) -> str:
        text = self._held + fresh
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could begin `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
