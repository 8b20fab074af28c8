"""What an estimate is made of: phases, each with its bytes by part."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Phase:
    """What is held at one moment, in bytes by part."""

    name: str
    parts: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts, phases, and the largest of them."""

    parameters: int
    trainable_parameters: int
    phases: tuple[Phase, ...]
    notes: tuple[str, ...] = field(default=())
    active_parameters: int = 0  # that a token meets

    @property
    def peak(self) -> Phase:
        """The phase that decides whether the task fits: they come one after the other."""
        return max(self.phases, key=lambda phase: phase.total_bytes)
