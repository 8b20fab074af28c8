"""Refuse, before anything is loaded, what cannot fit."""

import logging
from pathlib import Path

from weightwright.errors import MemoryLimitError, ModelError
from weightwright.plan.advice import Advice, advise
from weightwright.plan.memory import estimate
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_file

log = logging.getLogger(__name__)

_WAYS = 3  # of the advice that a message holds


def require_room(path: Path, settings: PlanSettings, free_bytes: int) -> None:
    """Raise MemoryLimitError, with what to change, where the task on the model at `path` needs more than is free.

    A family that cannot be planned for is let through.
    """
    try:
        spec = from_file(path)
    except ModelError as error:
        log.info("not planned: %s", error)
        return
    peak = estimate(spec, settings).peak
    if not free_bytes or peak.total_bytes <= free_bytes:
        return
    parts = sorted(peak.parts.items(), key=lambda item: -item[1])[:3]
    ways = [one for one in advise(settings, peak.total_bytes, free_bytes, spec) if one.setting != "task"]
    known = {one.setting for one in advise(settings, 0, free_bytes, spec)}
    ways = [one for one in ways if one.setting not in known][:_WAYS]
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
