"""What a step computed, told apart by whom it is for, and how an owner's work ends early."""

from collections import abc

from weightwright.engine.sequence import Owner, Share, Work
from weightwright.errors import RequestError


def shares_of(works: abc.Sequence[Work]) -> dict[Owner, list[Share]]:
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
