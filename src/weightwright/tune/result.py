"""What a run ended with: losses, rewards, memory, and what they tell."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightwright.machine import peak
from weightwright.tune import general
from weightwright.tune.diagnose import diagnose, diagnose_rewards, seen_before
from weightwright.tune.state import Notes, Run

FILE = "result.json"


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a run ended with; losses are per labelled token (per pair where answers are compared).

    `preferred` has the share of held-out pairs whose chosen answer is preferred, with its 95% interval and their
    number, `reward` the mean reward `first` and `last` in training, and `held_out_first` and `held_out_last`;
    `peak_bytes` is of the process or the GPU.
    """

    adapter: Path | None
    model: Path | None
    steps: int
    train_loss: float
    eval_loss: float | None
    tokens_per_s: float
    peak_bytes: int
    diagnosis: tuple[str, ...]
    preferred: dict[str, float] | None = None
    reward: dict[str, float] | None = None
    notes: tuple[str, ...] = ()  # rows dropped or cut, settings that were bounded
    finished_before: bool = False
    train_s: float = 0.0  # of its steps, without loading and evaluation
    general: dict[str, float] | None = None  # see `general.General`

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TuneResult":
        """The result of a run that has ended, as `to_json` gave it."""
        folders = {name: Path(values[name]) if values[name] else None for name in ("adapter", "model")}
        texts = {name: tuple(values[name]) for name in ("diagnosis", "notes")}
        return cls(**{**values, **folders, **texts}, finished_before=True)

    def to_json(self) -> dict[str, Any]:
        """The result as the command line prints it."""
        return {
            "adapter": str(self.adapter) if self.adapter else None,
            "model": str(self.model) if self.model else None,
            "steps": self.steps,
            "train_loss": self.train_loss,
            "eval_loss": self.eval_loss,
            "tokens_per_s": self.tokens_per_s,
            "peak_bytes": self.peak_bytes,
            "diagnosis": list(self.diagnosis),
            "preferred": self.preferred,
            "reward": self.reward,
            "notes": list(self.notes),
            "train_s": self.train_s,
            "general": self.general,
        }


def read_result(folder: Path) -> TuneResult | None:
    """The result of a run that has ended, None while it has not."""
    file = folder / FILE
    if not file.is_file():
        return None
    return TuneResult.from_json(json.loads(file.read_text(encoding="utf-8")))


def result_of(run: Run, *, adapter: Path | None, model: Path | None) -> TuneResult:
    """What a run has come to, with the folder that it wrote."""
    notes, samples = run.notes, run.rollout is not None
    last = notes.losses[-max(1, len(notes.losses) // 10) :]
    told = (diagnose_rewards if samples else diagnose)(
        notes.rewards if samples else notes.losses,
        notes.evals,
        seen_before=seen_before(run.plan.examples, run.plan.eval_examples),
        held_out=len(run.plan.eval_examples),
    )
    asked = general.compared(run.plan.general, *notes.general) if len(notes.general) == 2 else None
    return TuneResult(
        adapter=adapter,
        model=model,
        steps=run.done,
        train_loss=sum(last) / len(last),
        eval_loss=notes.evals[-1][1] if notes.evals and not samples else None,
        tokens_per_s=round(run.notes.tokens_per_s, 1),
        peak_bytes=max(run.ranks.all_gather([peak_bytes(run.device)])),
        diagnosis=(*told, *(asked.sentences if asked else ())),
        preferred=_preferred(notes.preferred),
        reward=_rewards(notes) if samples else None,
        notes=run.plan.notes,
        train_s=round(run.notes.train_s, 3),
        general=asked.data() if asked else None,
    )


def _rewards(notes: Notes) -> dict[str, float]:
    """The mean reward of the first and the last tenth of the steps, and held out before and after."""
    tenth = max(1, len(notes.rewards) // 10)
    parts = {"first": notes.rewards[:tenth], "last": notes.rewards[-tenth:]}
    found = {name: sum(values) / len(values) for name, values in parts.items() if values}
    if notes.evals:
        found |= {"held_out_first": notes.evals[0][1], "held_out_last": notes.evals[-1][1]}
    return found


def _preferred(counts: tuple[int, int] | None) -> dict[str, float] | None:
    """The share of pairs with Wilson's interval."""
    if counts is None:
        return None
    from weightwright.stats.intervals import wilson

    right, pairs = counts
    low, high = wilson(right, pairs)
    return {"share": right / pairs, "low": low, "high": high, "pairs": pairs}


def peak_bytes(device: torch.device) -> int:
    """The most memory held so far: of the GPU's allocator, or of this process (since `reset_peak`, on Linux)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if (since_reset := peak.peak_bytes()) is not None:
        return since_reset
    try:
        import resource
    except ImportError:  # Windows, whose own count psutil reads
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
