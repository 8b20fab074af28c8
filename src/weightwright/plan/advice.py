"""Rules for settings, each with its reason: pure functions of rows, steps and memory.

Sources: LoRA (arXiv 2106.09685) and the long comparison of its settings in "Practical tips for
finetuning LLMs using LoRA" (S. Raschka, 2023): alpha = 2 x rank, all linear layers, one epoch over
static data, AdamW at 3e-4 with weight decay 0.01 and a batch of 128 rows.
"""

from dataclasses import dataclass

WANTED_BATCH = 128
MIN_STEPS = 100
MAX_WARMUP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting, the value advised, and why."""

    setting: str
    value: str | int | float
    why: str


def batch_rows(rows: int, epochs: int, wanted: int = WANTED_BATCH, min_steps: int = MIN_STEPS) -> int:
    """Rows a step: `wanted` while at least `min_steps` steps remain, else as many as leave that many."""
    return max(1, min(wanted, rows * epochs // min_steps))


def warmup_steps(steps: int, *, asked: int | None = None, share: float | None = None) -> int:
    """Steps of warm-up: what is asked for, but at most 10% of all steps."""
    if asked is None:
        asked = round(steps * (MAX_WARMUP_SHARE if share is None else share))
    return min(asked, int(steps * MAX_WARMUP_SHARE))
