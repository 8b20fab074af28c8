"""How much background work a step bears beside sequences that decode, from the times of the steps so far."""

from bisect import bisect_right
from collections import deque

from weightwright.engine.schedule import Batch

_SLOWDOWN = 2.0  # a step with background work takes at most about so many times as long as one without
# Background tokens of a step: few sizes, since products of a number of rows that is new cost milliseconds to prepare.
_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
_TRYING = 3.0  # the same of a size that nothing is known of; what it takes may be far less than in proportion
_FIRST = _SIZES.index(8)  # before anything is known of the speed
_TRIED = 3  # times that a size must have taken too long before it counts as too large
_REMEMBERED = 5  # times of a size, and of steps that only decoded; the quickest counts
_STALE_STEPS = 32  # after so many steps with background work, one without measures decoding again
_RETRY_STEPS = 128  # after so many of them, a size that took too long is tried again


class Pace:
    """Learns how long decoding takes, and how much longer a step takes with each size of background work.

    Streams then wait for about `_SLOWDOWN` of their usual steps, whatever the model and the machine.
    """

    def __init__(self) -> None:
        self._decoding = 0  # sequences, when decoding was measured last
        self._decode_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._extra_s: list[deque[float]] = [deque(maxlen=_REMEMBERED) for _ in _SIZES]
        self._since = self._steps = 0  # with background work: since decoding was measured, and in all

    def background_tokens(self, decoding: int) -> int:
        """How many tokens of background work go beside so many sequences that decode; 0: measure these alone."""
        if not self._decode_s or decoding < self._decoding or self._since >= _STALE_STEPS:
            return 0
        return _SIZES[self._largest(min(self._decode_s))]

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
            self._since += 1
            self._steps += 1
            if self._decode_s:
                size = bisect_right(_SIZES, background) - 1
                self._extra_s[size].append(max(seconds - min(self._decode_s), 0.0))
            return
        if decoding < self._decoding:
            self._decode_s.clear()
        self._decode_s.append(seconds)
        self._decoding, self._since = decoding, 0

    def _largest(self, decode_s: float) -> int:
        """Which size to take: the largest that is known not to take too long, or the next, to learn of it."""
        known = [size for size, times in enumerate(self._extra_s) if times]
        if not known:
            return _FIRST
        fitting = [size for size in known if min(self._extra_s[size]) <= (_SLOWDOWN - 1) * decode_s]
        if not fitting:
            return max(known[0] - 1, 0)
        best, after = fitting[-1], min(fitting[-1] + 1, len(_SIZES) - 1)
        if self._steps % _RETRY_STEPS == 0:
            self._extra_s[after].clear()
        most_s = min(self._extra_s[best]) * _SIZES[after] / _SIZES[best]
        trying = len(self._extra_s[after]) < _TRIED and most_s <= (_TRYING - 1) * decode_s
        return after if trying else best
