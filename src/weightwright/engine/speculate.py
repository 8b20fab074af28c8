"""Guesses for the next tokens from what the sequence already holds (prompt look-up, arXiv 2304.04487).

Answers from documents copy a lot: where the last tokens stood before, what followed them then is guessed to follow
again. The guesses are checked in one forward pass and change nothing but the speed.
"""

from collections.abc import Sequence

_LONGEST, _SHORTEST = 4, 2  # tokens that must match
_FORGET = 0.8  # weight of the past in the moving average of acceptance


class Lookup:
    """The n-grams of one sequence, and how well guesses from them have done."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._ids = list(token_ids)
        self._after: list[dict[tuple[int, ...], int]] = [{} for _ in range(_LONGEST + 1)]
        self.acceptance = 1.0  # moving average of the share of guesses that came true
        self.guessed = 0
        self.accepted = 0
        self._indexed = 0
        self._index()

    def add(self, token: int) -> None:
        """The sequence went on by a token."""
        self._ids.append(token)
        self._index()

    def guess(self, count: int) -> tuple[int, ...]:
        """Up to `count` tokens that followed the longest earlier match of the last tokens; () without one."""
        ids = self._ids
        for size in range(min(_LONGEST, len(ids) - 1), _SHORTEST - 1, -1):
            after = self._after[size].get(tuple(ids[-size:]))
            if after is not None:
                return self._continued(after, count)
        return ()

    def learn(self, guessed: int, accepted: int) -> None:
        """So many guesses were made and so many of them, from the first, came true."""
        self.guessed += guessed
        self.accepted += accepted
        self.acceptance = _FORGET * self.acceptance + (1 - _FORGET) * accepted / guessed

    def _continued(self, after: int, count: int) -> tuple[int, ...]:
        """ids[after:], going on through its own guess where it reaches the end (a repeated passage)."""
        draft = self._ids[after : after + count]
        while len(draft) < count:
            draft += draft[-(len(self._ids) - after) :][: count - len(draft)]
        return tuple(draft)

    def _index(self) -> None:
        """Remember where every n-gram that has a successor was last followed."""
        ids = self._ids
        for end in range(max(self._indexed, 1), len(ids)):
            for size in range(_SHORTEST, min(_LONGEST, end) + 1):
                self._after[size][tuple(ids[end - size : end])] = end
        self._indexed = len(ids)
