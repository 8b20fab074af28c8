"""`--time 20m`: how many steps fit into a time, by the rate of the run's own first steps.

The first step compiles kernels and is not counted; evaluation and saving are timed when they first happen. What was
decided stays in the run's folder (budget.json): a run that goes on takes the same steps.
"""

import json
import statistics
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightwright.files import write_whole
from weightwright.plan import advice

if TYPE_CHECKING:
    from weightwright.tune.state import RunPlan

FILE = "budget.json"
_LEAST_STEPS = 3  # measured
_LEAST_SHARE = 0.02  # of the time, measured in steps that are short
_MOST_SHARE = 0.2  # of the time, for measuring more than the fewest steps


@dataclass
class Budget:
    """The seconds that a run may take from its first step or evaluation on, and what has been measured of it."""

    seconds: float
    clock: Callable[[], float]
    folder: Path
    steps_s: list[float] = field(
        default_factory=list
    )  # of each step, scaled to one of the mean number of tokens
    once_s: dict[str, float] = field(
        default_factory=dict
    )  # of an evaluation, a checkpoint, the general questions
    decided: bool = False
    _began: float = 0.0

    def begin(self, plan: "RunPlan", done: int) -> "RunPlan":
        """Start the clock; the plan, with the steps that were decided before `done` steps were."""
        self._began = self.clock()
        kept = self._kept()
        return self.fitted(plan, kept[1]) if kept and done >= kept[0] else plan

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Note the seconds that something takes which comes again."""
        started = self.clock()
        yield
        self.once_s[what] = self.clock() - started

    def is_measured(self, done: int, group: int) -> bool:
        """Whether the steps so far tell a rate; those of one `group` share samples, so whole groups are measured."""
        if self.decided:
            return False
        if (kept := self._kept()) is not None:
            return done >= kept[0]
        measured = self.steps_s[group:]
        if done % group or len(measured) < _LEAST_STEPS:
            return False
        spent_s = self.clock() - self._began
        return sum(measured) >= _LEAST_SHARE * self.seconds or spent_s >= _MOST_SHARE * self.seconds

    def decide(self, plan: "RunPlan", done: int, group: int) -> int:
        """The number of steps, kept in the folder; the one decided in an earlier process where there is one."""
        if (kept := self._kept()) is not None:
            return kept[1]
        step_s = _typical(self.steps_s, group)
        left_s = self.seconds - (self.clock() - self._began) - self.once_s.get("general", 0.0)
        steps = affordable(plan, done, left_s, step_s, self.once_s)
        write_whole(self.folder / FILE, json.dumps({"after": done, "steps": steps}))
        return steps

    def fitted(self, plan: "RunPlan", steps: int) -> "RunPlan":
        """The plan with so many steps: warm-up, schedule, evaluations and checkpoints as if it had been asked for."""
        self.decided = True
        settings = plan.settings
        epochs = min(steps * plan.batch / len(plan.examples), settings.epochs)
        note = f"{said(self.seconds)}: {steps:,} of {plan.steps:,} steps, {epochs:.2g} epochs"
        return replace(with_steps(plan, steps), notes=(*plan.notes, note))

    def _kept(self) -> tuple[int, int] | None:
        file = self.folder / FILE
        if not file.is_file():
            return None
        values = json.loads(file.read_text(encoding="utf-8"))
        return values["after"], values["steps"]


def with_steps(plan: "RunPlan", steps: int) -> "RunPlan":
    """The plan of a run of so many steps."""
    settings = plan.settings
    return replace(
        plan,
        steps=steps,
        warmup=advice.warmup_steps(steps, asked=settings.warmup_steps, share=settings.warmup_ratio),
        eval_every=settings.steps_between(settings.eval_every or 0.25, steps),
        save_every=settings.steps_between(settings.save_every, steps),
    )


def affordable(plan: "RunPlan", done: int, left_s: float, step_s: float, once_s: dict[str, float]) -> int:
    """The most steps, of which `done` are taken, whose rest takes `left_s` with its evaluations and checkpoints.

    At least one is to come, at most all of `plan`.
    """
    evaluation_s = once_s.get("evaluation", 0.0) if plan.eval_examples else 0.0

    def needed_s(steps: int) -> float:
        fitted = with_steps(plan, steps)
        return (
            (steps - done) * step_s
            + _times(done, steps, fitted.eval_every) * evaluation_s
            + _times(done, steps, fitted.save_every) * once_s.get("checkpoint", 0.0)
        )

    first = min(done + 1, plan.steps)
    return max(first, done + bisect_right(range(done, plan.steps + 1), left_s, key=needed_s) - 1)


def _typical(steps_s: list[float], group: int) -> float:
    """Seconds a step, by the median group but the first: one that met a new kernel's compilation counts little."""
    groups = [sum(steps_s[at : at + group]) / group for at in range(group, len(steps_s) - group + 1, group)]
    return statistics.median(groups)


def _times(done: int, steps: int, every: int) -> int:
    """How often something happens that happens each `every` steps and after the last."""
    return steps // every - done // every + bool(steps % every)


def said(seconds: float) -> str:
    """`20 minutes`, `1 hour 30 minutes`."""
    parts = []
    for name, size in (("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(round(seconds), size)
        if count:
            parts.append(f"{count} {name}{'s' * (count > 1)}")
    return " ".join(parts)
