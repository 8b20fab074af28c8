"""A run's state: what it will do, what it has seen, and all that its steps work with."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightwright.ports import Progress, silent
from weightwright.tune.batch import Batch, Example, to_batches
from weightwright.tune.budget import Budget
from weightwright.tune.examples import Examples
from weightwright.tune.objectives import Objective
from weightwright.tune.ranks import SingleProcess
from weightwright.tune.rollout import Rollout
from weightwright.tune.settings import TuneSettings


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do, decided before it starts."""

    examples: Examples
    eval_examples: Examples
    steps: int
    batch: int
    warmup: int
    eval_every: int
    save_every: int
    pass_tokens: int
    settings: TuneSettings
    packed: bool
    shared: bool = False  # what packed rows have in common stands once (see `prefixes`)
    notes: tuple[str, ...] = ()  # what the user should know before it starts
    general: tuple[Example, ...] = ()  # questions of no kind that it learns (see `general`)

    @property
    def mean_tokens(self) -> float:
        """Tokens of an example on average."""
        return float(self.examples.lengths.sum()) / len(self.examples)


@dataclass
class Notes:
    """What a run has seen so far; saved with each checkpoint."""

    losses: list[float] = field(default_factory=list)  # one a step: per labelled token, or per pair
    evals: list[tuple[int, float]] = field(
        default_factory=list
    )  # (steps done, loss of the same kind, or reward)
    rewards: list[float] = field(
        default_factory=list
    )  # one a step of sampled answers, of which one was judged
    preferred: tuple[int, int] | None = None  # held-out pairs whose chosen answer was preferred last, and all
    tokens: int = 0
    train_s: float = 0.0
    general: list[list[float]] = field(default_factory=list)  # of each general question: before, after

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second over all steps so far, padding and evaluation not counted."""
        return self.tokens / self.train_s if self.train_s else 0.0


@dataclass
class Run:
    """A run under way: the model, its optimizer, and how far it has come."""

    plan: RunPlan
    model: Any
    trainable: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    objective: Objective
    likelihood: Objective  # of the answers to general questions
    folder: Path
    rollout: Rollout | None = None  # where what is learnt from is sampled
    autocast: bool = False  # f32 weights computed in bf16 (full tuning)
    done: int = 0
    notes: Notes = field(default_factory=Notes)
    ranks: SingleProcess = field(default_factory=SingleProcess)
    progress: Progress = silent
    clock: Callable[[], float] = time.perf_counter
    budget: Budget | None = None
    idle: Callable[[], None] = lambda: None  # a pass that changes nothing: see `SingleProcess.in_lockstep`

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    def layout(self, examples: Sequence[Example], stop: Callable[[], bool] | None = None) -> Iterator[Batch]:
        """Examples as passes, this process's share of them, until `stop` says so after one of them."""
        plan, own, batches = self.plan, self.ranks.share_of(examples), []
        if own:
            most = plan.settings.micro_batch
            batches = to_batches(
                own, most, plan.pass_tokens, self.device, packed=plan.packed, shared=plan.shared
            )
        return self.ranks.in_lockstep(batches, self.idle, stop)

    def timed(self, what: str) -> AbstractContextManager[object]:
        """Let the run's budget know what something takes."""
        return self.budget.timed(what) if self.budget else nullcontext()

    def say(self, note: str) -> None:
        """Tell what goes on between two steps."""
        self.progress(self.done, self.plan.steps, note)

    def computing(self) -> AbstractContextManager[object]:
        """The precision that forward passes run in."""
        half: AbstractContextManager[object] = torch.autocast(self.device.type, dtype=torch.bfloat16)
        return half if self.autocast else nullcontext()
