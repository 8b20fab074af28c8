"""Whom scheduled sequences belong to: completions, beams, scores and embeddings, all alike to the engine's loop."""

from collections import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weightwright.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.engine.schedule import Work
    from weightwright.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Output:
    """What a step computed, in the order of its works: logits [rows, vocab] and hidden states [rows, hidden], f32."""

    logits: "Tensor"
    states: "Tensor | None" = None


Share = tuple["Work", int]  # a work, and the row of the logits (or the hidden states) where its own begin


class Owner(Protocol):
    """Takes what a step computes for its sequences. The engine's thread alone calls it."""

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """A step has computed these works: use their rows of the output and commit them to the schedule."""
        ...

    def fail(self, sequence: "Sequence", error: Exception) -> None:
        """End what this sequence belongs to with an error, and free what that holds."""
        ...

    def drop_adapter(self, name: str) -> None:
        """End what uses an adapter, with `dropped(name)`."""
        ...

    def stop(self) -> None:
        """End everything: the engine closes."""
        ...


def shares_of(works: abc.Sequence["Work"]) -> dict[Owner, list[Share]]:
    """The works of a step by owner."""
    shares: dict[Owner, list[Share]] = {}
    logits = states = 0
    for work in works:
        owner = work.sequence.owner
        assert owner is not None, "who adds a sequence to the engine's schedule owns it"
        shares.setdefault(owner, []).append((work, states if work.states else logits))
        logits += work.logits
        states += work.states
    return shares


def dropped(name: str) -> RequestError:
    """The error of what used an adapter when it was dropped."""
    return RequestError(f"the adapter {name!r} was dropped while the request ran")


def closed() -> RequestError:
    """The error of what is asked of an engine that is closed."""
    return RequestError("the engine is closed")
