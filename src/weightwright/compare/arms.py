"""What is tried: each arm is the same model with or without an adapter, with one kind of context."""

from dataclasses import dataclass
from typing import Literal

Context = Literal["none", "retrieved", "gold"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One alternative. `gold` context: the documents that the question names, as if search were perfect."""

    name: str
    adapter: bool
    context: Context
    meaning: str

    @property
    def deployable(self) -> bool:
        """Whether it could be put to work: nobody tells a deployed model the right document."""
        return self.context != "gold"


_ALL = (
    Arm("base", False, "none", "the model alone"),
    Arm("rag", False, "retrieved", "the model with retrieved passages"),
    Arm("lora", True, "none", "the tuned model alone"),
    Arm("lora+rag", True, "retrieved", "the tuned model with retrieved passages"),
    Arm("gold", False, "gold", "the model with the right passages (a ceiling: not something to deploy)"),
    Arm("lora+gold", True, "gold", "the tuned model with the right passages (a ceiling)"),
)
ARMS = {arm.name: arm for arm in _ALL}


def arm(name: str) -> Arm:
    """The arm of that name."""
    return ARMS[name]
