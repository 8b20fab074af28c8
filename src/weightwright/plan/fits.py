"""Refuse, before anything is loaded, what cannot fit, and decide what is left to be decided by the memory."""

import logging
from dataclasses import dataclass
from pathlib import Path

from weightwright.errors import MemoryLimitError, ModelError
from weightwright.plan.advice import Advice, advise
from weightwright.plan.memory import estimate
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec, from_file
from weightwright.plan.steps import in_two_steps

log = logging.getLogger(__name__)

_WAYS = 3  # of the advice that a message holds
_OWN = ("activations", "loss", "working", "heap", "runtime")  # what each of several processes holds by itself


@dataclass(frozen=True, slots=True)
class Decision:
    """Settings without an `auto` that the memory decides, and why activations are recomputed where it chose so."""

    settings: PlanSettings
    why: str = ""


def decide(spec: ModelSpec, settings: PlanSettings, limit_bytes: int, *, processes: int = 1) -> Decision:
    """Where `gradient_checkpointing` is `auto`: the first of false, `mlp` and true that fits, else false.

    `limit_bytes` is 0 on a machine that does not say. Several `processes` share weights, gradients and states.
    """
    if settings.gradient_checkpointing != "auto":
        return Decision(settings)
    keeping = settings.model_copy(update={"gradient_checkpointing": False})
    if settings.task == "serve" or not limit_bytes:
        return Decision(keeping)
    needed = _needed_bytes(spec, keeping, processes)
    if needed <= limit_bytes:
        return Decision(keeping)
    cheaper = any(in_two_steps(spec, keeping, layer) for layer in spec.kinds)
    for on in ("mlp", True) if cheaper else (True,):
        recomputing = settings.model_copy(update={"gradient_checkpointing": on})
        less = _needed_bytes(spec, recomputing, processes)
        if less <= limit_bytes:
            sizes = f"{needed / 1e9:.2f} GB would be needed without, {less / 1e9:.2f} GB with it"
            return Decision(recomputing, f"{sizes}, of {limit_bytes / 1e9:.2f} GB")
    return Decision(keeping)


def _needed_bytes(spec: ModelSpec, settings: PlanSettings, processes: int) -> int:
    return max(
        sum(size * (processes if part in _OWN else 1) for part, size in phase.parts.items())
        for phase in estimate(spec, settings).phases
    )


def require_room(path: Path, settings: PlanSettings, free_bytes: int) -> None:
    """Raise MemoryLimitError, with what to change, where the task on the model at `path` needs more than is free.

    A family that cannot be planned for is let through; so is what fits with activations recomputed, where that is
    `auto`.
    """
    try:
        spec = from_file(path)
    except ModelError as error:
        log.info("not planned: %s", error)
        return
    settings = decide(spec, settings, free_bytes).settings
    peak = estimate(spec, settings).peak
    if not free_bytes or peak.total_bytes <= free_bytes:
        return
    parts = sorted(peak.parts.items(), key=lambda item: -item[1])[:3]
    ways = [one for one in advise(settings, peak.total_bytes, free_bytes, spec) if one.setting != "task"]
    known = {one.setting for one in advise(settings, 0, free_bytes, spec)}
    ways = [one for one in ways if one.setting not in known and one.setting != "device_memory"][:_WAYS]
    remedy = "; ".join(f"{_flag(one)} ({one.why})" for one in ways)
    raise MemoryLimitError(
        f"{settings.task} needs {peak.total_bytes / 1e9:.1f} GB at its peak ({peak.name}: "
        + ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts)
        + f") and {free_bytes / 1e9:.1f} GB are free; "
        + (f"try {remedy}" if remedy else "use a smaller model, or a machine with more memory")
        + "; `weightwright plan` shows it all"
    )


def _flag(one: Advice) -> str:
    name = f"--{one.setting.replace('_', '-')}"
    return name if one.value is True else f"{name} {one.text}"
