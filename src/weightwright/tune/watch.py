"""How far a run has come, read from its folder: from another terminal, or after it ended."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from weightwright.config import Settings
from weightwright.errors import TuneError


class WatchSettings(Settings):
    """Which run to watch."""

    folder: Path = Field(description="--out of the run")
    once: bool = Field(False, description="say how far it is and end")


@dataclass(frozen=True, slots=True)
class State:
    """What a run's folder says: steps done of all, losses, evaluations (steps done, loss), tokens a second."""

    done: int
    steps: int
    losses: tuple[float, ...]
    evals: tuple[tuple[int, float], ...]
    tokens_per_s: float
    age_s: float  # since something was last written
    finished: bool

    def data(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "done": self.done, "steps": self.steps, "finished": self.finished, "tokens_per_s": self.tokens_per_s,
            "losses": list(self.losses), "evals": [list(one) for one in self.evals], "age_s": round(self.age_s, 1),
        }  # fmt: skip


def state(folder: Path, now_s: float) -> State:
    """Read a run's folder; `now_s` is the time in seconds since the epoch. Raises TuneError for another folder."""
    try:
        plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuneError(f"{folder} is no folder of a tuning run; give the --out of a tune command") from error
    log = folder / "log.jsonl"
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    steps = [line for line in lines if "loss" in line]
    written = log if log.is_file() else folder / "run.json"
    return State(
        done=steps[-1]["step"] if steps else 0,
        steps=plan["steps"],
        losses=tuple(line["loss"] for line in steps),
        evals=tuple((line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line),
        tokens_per_s=steps[-1]["tokens_per_s"] if steps else 0.0,
        age_s=max(0.0, now_s - written.stat().st_mtime),
        finished=(folder / "result.json").is_file(),
    )
