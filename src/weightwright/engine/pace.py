"""How many background tokens a step may carry beside decoding sequences, learnt from the times of past steps."""

from collections import deque

from weightwright.engine.schedule import Batch

_SLOWDOWN = 3.0  # longest step with background work, as a multiple of one that only decodes
_FIRST_TOKENS = 8  # background tokens while their speed is unknown
_GROWTH = 2  # at most so many times the background tokens of the last such step
_STALE_STEPS = 16  # after so many steps with background work, a step without it measures decoding again
_REMEMBERED = 5  # decode-only steps kept; the fastest counts
_KEPT = 0.9  # weight of the old time of a token in the average; a slower time replaces it at once


class Pace:
    """Learns the time of a decode-only step, and the time that each background token adds to it.

    A step then takes at most about `_SLOWDOWN` times a decode-only one, whatever the model and the machine.
    """

    def __init__(self) -> None:
        self._decoding = 0  # sequences in the last decode-only step
        self._decode_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._token_s = 0.0  # time that one background token adds; 0: not known
        self._last_tokens = 0
        self._since = 0  # steps with background work since the last decode-only step

    def background_tokens(self, decoding: int) -> int:
        """Background tokens allowed beside `decoding` sequences; 0: run a decode-only step, to measure it."""
        if not self._decode_s or decoding < self._decoding or self._since >= _STALE_STEPS:
            return 0
        most = _GROWTH * self._last_tokens or _FIRST_TOKENS
        if not self._token_s:
            return most
        extra_s = (_SLOWDOWN - 1) * min(self._decode_s)
        return max(1, min(most, int(extra_s / self._token_s)))

    def learn(self, batch: Batch, seconds: float) -> None:
        """Record that the step `batch` took `seconds`."""
        decoding = background = 0
        for work in batch.works:
            if work.sequence.background:
                background += len(work.tokens)
            elif work.start >= work.sequence.prompt_tokens - 1:
                decoding += 1
            else:  # a step that reads a prompt says nothing about the other kinds
                return
        if not decoding:
            return
        if background:
            self._learn_background(background, seconds)
            return
        if decoding < self._decoding:
            self._decode_s.clear()
        self._decode_s.append(seconds)
        self._decoding, self._since = decoding, 0

    def _learn_background(self, tokens: int, seconds: float) -> None:
        self._since += 1
        self._last_tokens = tokens
        if self._decode_s:
            token_s = max(seconds - min(self._decode_s), 0.0) / tokens
            self._token_s = max(token_s, _KEPT * self._token_s + (1 - _KEPT) * token_s)
