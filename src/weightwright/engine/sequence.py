"""One row of tokens on its way through the engine, its work in a step, and the owner that takes what comes of it."""

from collections import abc
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Status(Enum):
    """Where a sequence stands."""

    NEW = "new"
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Sequence:
    """One row of tokens. The engine writes the first group of fields, the schedule the second.

    The engine appends to `token_ids`; a token that was part of a batch never changes. Of those that run, one
    that decodes has computed == len(token_ids) - 1; one with computed == len(token_ids) is idle: it waits for
    the engine to append (a beam waits for its siblings).
    """

    token_ids: list[int]  # prompt and output so far
    prompt_tokens: int
    max_tokens: int  # new tokens at most
    priority: int = 0  # lower goes first
    salt: bytes = b""  # which weights made the keys and values: root of the digests
    share_prefix: bool = True  # False: compute every position of the prompt anew
    logits_from: int | None = None  # first position whose logits are wanted, not to be shared; None: the last
    states_from: int | None = None  # first position whose hidden state is wanted; then no logits are
    background: bool = False  # decodes nothing; runs behind those that decode, without holding them up
    keep: bool = True  # its blocks may serve others
    adapter: str | None = None  # by name
    owner: "Owner | None" = None  # who takes what a step computes for it
    draft: tuple[int, ...] = ()  # guesses for what follows token_ids; set before next(), emptied by commit()

    state: Any = None  # what the executor keeps for it beside the blocks

    status: Status = Status.NEW
    arrival: int = -1
    rank: tuple[bool, int, int, int] = (
        False,
        0,
        0,
        0,
    )  # (background, priority, arrival, number): unique, lower first
    blocks: list[int] = field(default_factory=list)  # position p stands in blocks[p // block_tokens]
    computed: int = 0  # tokens whose keys and values stand in the blocks
    cached_tokens: int = 0  # found in blocks of others when first admitted
    admissions: int = 0  # 2 and more: it was preempted
    sealed: int = 0  # leading blocks that are full and registered (or a twin of theirs is)
    digests: list[bytes] = field(default_factory=list)  # of leading full blocks, as needed

    @property
    def first_wanted(self) -> int:
        """The first position whose logits or hidden state are wanted."""
        if self.states_from is not None:
            return self.states_from
        return len(self.token_ids) - 1 if self.logits_from is None else self.logits_from


@dataclass(frozen=True, slots=True)
class Work:
    """What one sequence computes in a step: `tokens` at positions start, start + 1, …"""

    sequence: Sequence
    start: int
    tokens: tuple[int, ...]  # the next of token_ids and, after its very end, what fits of the draft
    logits: int  # trailing positions that need logits: as a rule 0 short of the end, else 1 + draft tokens
    states: int = 0  # trailing positions whose hidden states are wanted


@dataclass(frozen=True, slots=True)
class Output:
    """What a step computed, in the order of its works: logits [rows, vocab] and hidden states [rows, hidden], f32."""

    logits: "Tensor"
    states: "Tensor | None" = None


Share = tuple[Work, int]  # a work, and the row of the logits (or the hidden states) where its own begin


class Owner(Protocol):
    """Takes what a step computes for its sequences. The engine's thread alone calls it."""

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """A step has computed these works: use their rows of the output and commit them to the schedule."""
        ...

    def fail(self, sequence: Sequence, error: Exception) -> None:
        """End what this sequence belongs to with an error, and free what that holds."""
        ...

    def drop_adapter(self, name: str) -> None:
        """End what uses an adapter, with `dropped(name)`."""
        ...

    def stop(self) -> None:
        """End everything: the engine closes."""
        ...
