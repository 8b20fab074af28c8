"""How far a run has come, read from its folder: from another terminal, or after it ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from weightwright.config import Settings
from weightwright.errors import TuneError
from weightwright.tune.log import measures_of, read_lines

_HELD_OUT = ("eval_loss", "eval_reward")


class WatchSettings(Settings):
    """Which run to watch."""

    folder: Path = Field(description="--out of the run")
    once: bool = Field(False, description="say how far it is and end")


@dataclass(frozen=True, slots=True)
class State:
    """What a run's folder says: steps done of all, losses, evaluations (steps done, loss), tokens a second.

    A run that samples has mean `rewards` beside its losses, evaluations of rewards, and `measures` of its answers by
    the log's name: one value a step.
    """

    done: int
    steps: int
    losses: tuple[float, ...]
    evals: tuple[tuple[int, float], ...]
    tokens_per_s: float
    age_s: float  # since something was last written
    finished: bool
    rewards: tuple[float, ...] = ()
    measures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def curve(self) -> tuple[float, ...]:
        """What is to rise or fall: rewards where answers are sampled, else losses."""
        return self.rewards or self.losses

    def data(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "done": self.done, "steps": self.steps, "finished": self.finished, "tokens_per_s": self.tokens_per_s,
            "losses": list(self.losses), "evals": [list(one) for one in self.evals], "age_s": round(self.age_s, 1),
            **({"rewards": list(self.rewards), "measures": self.measures} if self.rewards else {}),
        }  # fmt: skip


def state(folder: Path, now_s: float) -> State:
    """Read a run's folder; `now_s` is the time in seconds since the epoch. Raises TuneError for another folder."""
    try:
        plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuneError(f"{folder} is no folder of a tuning run; give the --out of a tune command") from error
    lines = read_lines(folder)
    steps = [line for line in lines if "loss" in line]
    log = folder / "log.jsonl"
    written = log if log.is_file() else folder / "run.json"
    return State(
        done=steps[-1]["step"] if steps else 0,
        steps=plan["steps"],
        losses=tuple(line["loss"] for line in steps),
        evals=tuple((line["step"], line[name]) for line in lines for name in _HELD_OUT if name in line),
        tokens_per_s=steps[-1]["tokens_per_s"] if steps else 0.0,
        age_s=max(0.0, now_s - written.stat().st_mtime),
        finished=(folder / "result.json").is_file(),
        rewards=tuple(line["reward"] for line in steps if "reward" in line),
        measures=measures_of(steps),
    )
