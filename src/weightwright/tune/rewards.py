"""How a reward is named: `rewards.py:score`, `exact_match`, `length:50`, with a weight before it as in `0.5*json`."""

import math
from dataclasses import dataclass
from pathlib import Path

_FILE = ".py"


@dataclass(frozen=True, slots=True)
class RewardName:
    """A reward as it was named: `name` is a function of `file`, or one of ours, whose `argument` stands behind it."""

    text: str
    weight: float
    name: str
    file: Path | None = None
    argument: str = ""


def parse_reward(text: str) -> RewardName:
    """Read a reward's name. Raises ValueError saying what is wrong with it."""
    weight, star, rest = text.rpartition("*")
    try:
        factor = float(weight) if star else 1.0
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise ValueError(f"reward={text}: {weight!r} is no number to weigh it by, as in 0.5*exact_match")
    before, colon, after = rest.strip().rpartition(":")
    if before.endswith(_FILE) and after.isidentifier():
        return RewardName(text, factor, after, Path(before).expanduser())
    if rest.strip().endswith(_FILE) or before.endswith(_FILE):
        raise ValueError(
            f"reward={text} names no function; write {before if colon else rest.strip()}:FUNCTION"
        )
    name, _, argument = rest.strip().partition(":")
    return RewardName(text, factor, name, None, argument)
