"""Rules for settings, each with its reason: pure functions of rows, kinds of task, steps and memory.

Where each rule comes from stands in the guide (docs/plan.md): mostly LoRA (arXiv 2106.09685), QLoRA (arXiv
2305.14314) and the long comparison of settings in "Practical tips for finetuning LLMs using LoRA" (S. Raschka, 2023).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weightwright.plan.measured import PROMPTS_A_STEP
from weightwright.plan.memory import estimate
from weightwright.plan.serving import packable
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec
from weightwright.plan.training import OF_PAIRS, OF_SAMPLES

WANTED_BATCH = 128
MIN_STEPS = 100
MAX_WARMUP_SHARE = 0.1
SMALL_BATCH = 8
MOST_EPOCHS = 20
QLORA_MEMORY, QLORA_TIME = "33%", "39%"
RANKS = ((1, 8), (4, 16), (8, 32), (16, 64), (32, 128))  # up to so many kinds of task: this rank
MOST_RANK = 256
ADAPTER_RATE, FULL_RATE, SGD_RATE = 3e-4, 2e-5, 0.1
WORTH_SAYING = 0.995  # a way that leaves more of the peak is left out
_COMPARED = (*OF_PAIRS, *OF_SAMPLES, "kto")  # objectives that compare answers
PREFERENCE_SHARE = 0.1  # of a rate, for objectives that compare answers


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting, the value advised, and why."""

    setting: str
    value: str | int | float
    why: str

    @property
    def text(self) -> str:
        """The value as it is written in settings."""
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


def batch_rows(rows: int, epochs: int, wanted: int = WANTED_BATCH, min_steps: int = MIN_STEPS) -> int:
    """Rows a step: `wanted` while at least `min_steps` steps remain, else as many as leave that many."""
    return max(1, min(wanted, rows * epochs // min_steps))


def warmup_steps(steps: int, *, asked: int | None = None, share: float | None = None) -> int:
    """Steps of warm-up: what is asked for, as steps or as a share of all, else 10% of all steps."""
    if asked is not None:
        return asked
    return int(steps * MAX_WARMUP_SHARE) if share is None else math.ceil(steps * share)


def lora_rank(task_kinds: int) -> int:
    """The rank for rows of so many kinds of task: 8 for one, 16 for a few, up to 256 for many."""
    return next((rank for kinds, rank in RANKS if task_kinds <= kinds), MOST_RANK)


def epochs_for(rows: int) -> int:
    """One pass, but where rows are few as many as make 100 steps of 8 rows, at most 20."""
    return min(MOST_EPOCHS, max(1, -(-MIN_STEPS * SMALL_BATCH // rows)))


def learning_rate(settings: PlanSettings) -> float:
    """The peak learning rate for a method, an optimizer and an objective, as tuning takes it by default."""
    if settings.optimizer == "sgd":
        return SGD_RATE
    usual = FULL_RATE if settings.task == "full" else ADAPTER_RATE
    return usual * PREFERENCE_SHARE if settings.objective in _COMPARED else usual


def advise(
    settings: PlanSettings, peak_bytes: int, memory_bytes: int, spec: ModelSpec | None = None
) -> list[Advice]:
    """What to set for a task, and what to change where it does not fit.

    With `spec` each change says the peak that it leads to together with those before it, and those that help nothing
    are left out.
    """
    advised = [] if settings.task == "serve" else _training(settings, _saved_by_qlora(settings, spec))
    if memory_bytes and peak_bytes > memory_bytes:
        ways = list(_to_fit(settings, _saved_by_qlora(settings, spec)))
        advised += ways if spec is None else _until_it_fits(spec, settings, ways, memory_bytes)
    return advised


def _training(settings: PlanSettings, saved: str) -> list[Advice]:
    advised = [_epochs(settings)]
    if settings.task != "full":
        advised += _adapter(settings)
    advised += _optimizer(settings)
    if settings.rows is not None:
        epochs = settings.epochs if "epochs" in settings.model_fields_set else epochs_for(settings.rows)
        sampled = settings.objective in OF_SAMPLES
        batch = min(PROMPTS_A_STEP, settings.rows) if sampled else batch_rows(settings.rows, epochs)
        steps = -(-settings.rows * epochs // batch)
        why = (
            f"prompts a step, {batch * settings.group_size} answers; more are steadier and take longer"
            if sampled
            else f"towards {WANTED_BATCH} while at least {MIN_STEPS} steps remain ({steps} here); "
            "passes are accumulated, so it takes no memory"
        )
        advised += [
            Advice("batch", batch, why),
            Advice("warmup_steps", warmup_steps(steps), "at most a tenth of the steps"),
        ]  # fmt: skip
    if settings.task == "qlora":
        advised.append(Advice("task", "qlora", f"about {saved} less memory than LoRA for about {QLORA_TIME} "
                            "more time; choose lora where that fits"))  # fmt: skip
    return advised


def _saved_by_qlora(settings: PlanSettings, spec: ModelSpec | None) -> str:
    """What QLoRA saves of LoRA's memory: the paper's share, or less of experts, which stay as they are."""
    if spec is None or not spec.expert_weights or settings.task not in ("lora", "qlora"):
        return QLORA_MEMORY
    lora, qlora = (
        estimate(spec, settings.model_copy(update={"task": task, "precision": "auto"})).peak.total_bytes
        for task in ("lora", "qlora")
    )
    return f"{1 - qlora / lora:.0%}"


def _epochs(settings: PlanSettings) -> Advice:
    needed = epochs_for(settings.rows) if settings.rows is not None else 1
    if needed == 1:
        return Advice("epochs", 1, "first; more than one pass over fixed rows tends to overfit, add a second only if "
                      "the held-out loss still falls")  # fmt: skip
    return Advice("epochs", needed, f"{settings.rows} rows are few: so often makes about {MIN_STEPS} steps of "
                  f"{SMALL_BATCH} rows; stop where the held-out loss rises")  # fmt: skip


def _adapter(settings: PlanSettings) -> list[Advice]:
    rank = lora_rank(settings.task_kinds)
    kinds = "one kind of task" if settings.task_kinds == 1 else f"{settings.task_kinds} kinds of task"
    ranks = f"for {kinds}: 8 is enough for one, 16 for a few, up to {MOST_RANK} for many"
    alphas = "twice the rank, so that the scale stays as the rank grows"
    used = settings.rank if "rank" in settings.model_fields_set else rank
    if used != rank:
        ranks += f"; {used} was asked for"
        alphas += f"; with rank {used}: {2 * used}"
    if settings.alpha is not None and settings.alpha != 2 * used:
        alphas += f"; {settings.alpha:g} scales the adapter by {settings.alpha / used:.3g}"
    return [
        Advice("rank", rank, ranks),
        Advice("alpha", 2 * rank, alphas),
        Advice("targets", "all-linear", "adapting every linear layer learns more than queries and values alone, for "
               "a few more weights"),
    ]  # fmt: skip


def _optimizer(settings: PlanSettings) -> list[Advice]:
    rate = learning_rate(settings)
    if settings.optimizer == "sgd":
        why = "SGD keeps half of AdamW's state or nothing, and needs far larger steps; with momentum 0.9"
    elif settings.objective in _COMPARED:
        why = "AdamW, a tenth of the usual: larger steps leave the model that is compared with"
    elif settings.task == "full":
        why = "AdamW; all weights move, larger steps forget what was known"
    else:
        why = "AdamW; adapters bear more than full tuning"
    if settings.learning_rate is not None and not rate / 3 <= settings.learning_rate <= rate * 3:
        times = settings.learning_rate / rate
        why += f"; {settings.learning_rate:g} is {times:.3g} times that"
    advised = [Advice("learning_rate", float(f"{rate:.3g}"), why)]
    if settings.optimizer == "sgd":
        return [*advised, Advice("momentum", 0.9, "without it SGD is too slow here")]
    return [
        *advised,
        Advice("weight_decay", 0.01, "a little, against overfitting; more where the held-out loss rises"),
    ]


def _to_fit(settings: PlanSettings, saved: str = QLORA_MEMORY) -> Iterator[Advice]:
    """Ways to need less memory, those that cost least first."""
    if settings.task == "serve":
        ways = [
            Advice("sequences", max(1, settings.sequences // 2), "half the KV cache; requests queue"),
            Advice("kv_precision", "int8", "about half the KV cache, a little less exact"),
            *_packings(),
            Advice("context", max(1, settings.context // 2), "half the KV cache; longer prompts are refused"),
        ]
        yield from (way for way in ways if _changes(settings, way))
        return
    if settings.micro_batch != 1:
        yield Advice("micro_batch", 1, "fewer activations at once; the same steps, a little slower")
    if settings.task == "qlora" and not settings.double_quantisation:
        yield Advice("double_quantisation", True, "0.37 bits a weight less, for nothing that is noticed")
    if settings.gradient_checkpointing is not True:
        yield Advice("gradient_checkpointing", True, "keeps one value a layer, a third more time")
    if settings.optimizer == "adamw" and settings.device in ("cuda", "xpu"):
        yield Advice("optimizer", "adamw8bit", "a quarter of AdamW's state, the same steps within rounding")
    elif settings.optimizer == "adamw" and settings.task == "full":
        yield Advice(
            "optimizer", "sgd", "half of AdamW's state; learning rate 0.1 with momentum 0.9, more tuning"
        )
    if settings.objective in OF_SAMPLES:
        if settings.batch != 1:
            yield Advice("batch", 1, "the KV cache of one prompt's answers; steps are noisier")
    elif settings.task == "lora":
        yield Advice("task", "qlora", f"about {saved} less memory for about {QLORA_TIME} more time")
    if settings.max_length > 2:
        yield Advice(
            "max_length", settings.max_length // 2, "half the activations; longer rows need a choice"
        )
    if settings.task == "full":
        yield Advice("task", "lora", "no gradients and moments for the base model's weights")
        yield Advice("task", "qlora", "and its weights in 4 bits")


def fewer_rows(spec: ModelSpec, settings: PlanSettings, memory_bytes: int) -> Advice | None:
    """One row a pass, where the task fits so without recomputing activations; None where it does not."""
    changed = settings.model_copy(update={"micro_batch": 1, "gradient_checkpointing": False})
    peak = estimate(spec, changed).peak.total_bytes
    if settings.micro_batch == 1 or peak > memory_bytes:
        return None
    why = f"nothing is recomputed, which takes a third more time; {peak / 1e9:.2f} GB, which fits"
    return Advice("micro_batch", 1, why)


def _packings() -> tuple[Advice, ...]:
    """Fewer bits a weight, which the engine has on CPUs."""
    return (
        Advice("precision", "int8", "half of bf16's weights, hardly less exact, and faster on a CPU"),
        Advice("precision", "int4", "a third of bf16's weights, a little less exact"),
    )


def _changes(settings: PlanSettings, way: Advice) -> bool:
    """Whether a way to serve in less memory is one: not what is set already, nor back to more."""
    if way.setting != "precision":
        return bool(getattr(settings, way.setting) != way.value)
    order = ("f32", "bf16", "int8", "int4")
    return order.index(settings.resolved_precision) < order.index(str(way.value))


def _until_it_fits(
    spec: ModelSpec, settings: PlanSettings, ways: list[Advice], memory_bytes: int
) -> list[Advice]:
    """The ways that lower the peak, taken one after the other until it fits, each with the peak it leads to."""
    advised: list[Advice] = []
    start, before = settings, estimate(spec, settings).peak.total_bytes
    for way in ways:
        if way.setting == "precision" and not packable(spec):
            continue
        changes: dict[str, Any] = {way.setting: way.value}
        if way.setting == "task":
            changes |= {"precision": "auto"}
        changed, together = settings.model_copy(update=changes), "with those above: " if advised else ""
        if way.setting == "task":  # instead of all those above, where it is enough by itself
            alone = start.model_copy(update=changes)
            if estimate(spec, alone).peak.total_bytes <= memory_bytes:
                changed, together = alone, "by itself: " if advised else ""
        peak = estimate(spec, changed).peak.total_bytes
        if peak > before * WORTH_SAYING and peak > memory_bytes:
            continue
        settings, before = changed, peak
        fits = ", which fits" if peak <= memory_bytes else ""
        advised.append(Advice(way.setting, way.value, f"{way.why}; {together}{peak / 1e9:.2f} GB{fits}"))
        if fits:
            return advised
    least = f"{math.ceil(before / 1e9)}GB"
    why = f"nothing of this fits into {memory_bytes / 1e9:.2f} GB" + (
        " even with all those above" if advised else ""
    )
    return [*advised, Advice("device_memory", least, f"{why}; take a smaller model, or so much memory")]
