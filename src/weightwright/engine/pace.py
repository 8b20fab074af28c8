"""How much background work a step bears beside sequences that decode, from the times of the steps so far."""

from collections import deque

from weightwright.engine.schedule import Batch

_SLOWDOWN = 3.0  # so many times as long as a step that only decodes may one be that does background work too
_FIRST_TOKENS = 8  # before anything is known of the speed
_GROWTH = 2  # at most so many times the tokens of the last such step
_STALE_STEPS = 16  # after so many steps with background work, one without measures decoding again
_REMEMBERED = 5  # steps that only decoded, of which the quickest counts
_KEPT = 0.9  # of what a token took; more than that is believed at once, less only by and by


class Pace:
    """Learns how long decoding takes and how long each token beside it.

    Streams then wait for at most about `_SLOWDOWN` of their usual steps, whatever the model and the machine.
    """

    def __init__(self) -> None:
        self._decoding = 0  # sequences, when decoding was measured last
        self._decode_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._token_s = 0.0  # of one more background token; 0: not known
        self._last_tokens = 0
        self._since = 0  # steps with background work since decoding was measured

    def background_tokens(self, decoding: int) -> int:
        """How many tokens of background work go beside so many sequences that decode; 0: measure these alone."""
        if not self._decode_s or decoding < self._decoding or self._since >= _STALE_STEPS:
            return 0
        most = _GROWTH * self._last_tokens or _FIRST_TOKENS
        if not self._token_s:
            return most
        extra_s = (_SLOWDOWN - 1) * min(self._decode_s)
        return max(1, min(most, int(extra_s / self._token_s)))

    def learn(self, batch: Batch, seconds: float) -> None:
        """A step took so long."""
        decoding = background = 0
        for work in batch.works:
            if work.sequence.background:
                background += len(work.tokens)
            elif work.start >= work.sequence.prompt_tokens - 1:
                decoding += 1
            else:  # a prompt is read: such a step tells nothing of the others
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
