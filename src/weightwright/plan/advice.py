"""Rules for settings, each with its reason: pure functions of rows, steps and memory.

Sources: LoRA (arXiv 2106.09685) and the long comparison of its settings in "Practical tips for
finetuning LLMs using LoRA" (S. Raschka, 2023): alpha = 2 x rank, all linear layers, one epoch over
static data, AdamW at 3e-4 with weight decay 0.01 and a batch of 128 rows.
"""

from dataclasses import dataclass

from weightwright.plan.settings import PlanSettings

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


def advise(settings: PlanSettings, peak_bytes: int, memory_bytes: int) -> list[Advice]:
    """What to set for a task, and what to change where it does not fit."""
    found = [] if settings.task == "serve" else _training(settings)
    if memory_bytes and peak_bytes > memory_bytes:
        found += _to_fit(settings)
    return found


def _training(settings: PlanSettings) -> list[Advice]:
    found = [Advice("epochs", 1, "more than one pass over fixed rows tends to overfit; add a second only if "
                    "the held-out loss still falls")]  # fmt: skip
    if settings.task != "full":
        found += [
            Advice("rank", 8, "enough for one kind of task; 16 for a few, up to 256 for many kinds"),
            Advice("alpha", 2 * settings.rank, "twice the rank, so that the scale stays as the rank grows"),
            Advice("targets", "all-linear", "adapting every linear layer learns more than queries and values "
                   "alone, for a few more weights"),
            Advice("learning_rate", 3e-4, "AdamW, weight decay 0.01; adapters bear more than full tuning"),
        ]  # fmt: skip
    else:
        found.append(Advice("learning_rate", 2e-5, "all weights move; larger steps forget what was known"))
    if settings.rows is not None:
        batch = batch_rows(settings.rows, settings.epochs)
        steps = -(-settings.rows * settings.epochs // batch)
        found += [
            Advice("batch", batch, f"towards {WANTED_BATCH} while at least {MIN_STEPS} steps remain "
                   f"({steps} here)"),
            Advice("warmup_steps", warmup_steps(steps), "at most a tenth of the steps"),
        ]  # fmt: skip
    return found


def _to_fit(settings: PlanSettings) -> list[Advice]:
    """Ways to need less memory, those that cost least first."""
    if settings.task == "serve":
        ways = [
            Advice("sequences", max(1, settings.sequences // 2), "halves the KV cache; requests queue"),
            Advice(
                "context", max(1, settings.context // 2), "halves the KV cache; longer prompts are refused"
            ),
            Advice("kv_precision", "int8", "halves the KV cache, a little less exact"),
            Advice("precision", "int4", "a quarter of bf16's weights, a little less exact"),
        ]
        return [way for way in ways if getattr(settings, way.setting) != way.value]
    ways = []
    if settings.micro_batch != 1:
        ways.append(Advice("micro_batch", 1, "fewer activations at once; the same steps, a little slower"))
    if not settings.gradient_checkpointing:
        ways.append(Advice("gradient_checkpointing", "true", "keeps one value a layer, a third more time"))
    if settings.task == "full":
        ways.append(Advice("task", "lora", "no gradients and moments for the base model's weights"))
    elif settings.task == "lora":
        ways.append(Advice("task", "qlora", "about a third less memory for about 39% more time"))
    ways.append(
        Advice("max_length", settings.max_length // 2, "half the activations; longer rows need a choice")
    )
    return ways
