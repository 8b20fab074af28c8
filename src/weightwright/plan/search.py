"""The largest setting that still fits, by halving the range over the estimate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weightwright.plan.memory import estimate
from weightwright.plan.settings import SEARCHES, PlanSettings
from weightwright.plan.spec import ModelSpec

_MOST = {"micro_batch": 4096, "sequences": 65_536, "context": 1 << 22, "max_length": 1 << 22}
_LEAST = {"max_length": 2}


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest value that fits, 0 where none does; `peak_bytes` at it, or at the smallest."""

    setting: str
    value: int
    peak_bytes: int
    why: str


def largest(spec: ModelSpec, settings: PlanSettings, limit_bytes: int) -> Largest:
    """The largest value of what `settings.search` names whose peak is within `limit_bytes`.

    Where `gradient_checkpointing` is `auto`, activations are recomputed at the values that fit only so.
    """
    assert settings.search is not None
    field = SEARCHES[settings.search][1]

    def recomputes(value: int) -> bool:
        auto = settings.gradient_checkpointing == "auto"
        return auto and _peak_bytes(spec, settings, {field: value}) > limit_bytes

    def peak(value: int) -> int:
        changes: dict[str, object] = {"gradient_checkpointing": True} if recomputes(value) else {}
        return _peak_bytes(spec, settings, {field: value, **changes})

    def fits(value: int) -> bool:
        return peak(value) <= limit_bytes

    least, most, bound = _LEAST.get(field, 1), _MOST[field], "the most that is tried"
    if field in ("context", "max_length") and spec.context:
        most, bound = max(least, spec.context), "the model's context"
    if not fits(least):
        return Largest(field, 0, peak(least), f"not even {least} fits")
    value = _last(fits, least, most)
    why = (
        f"{bound}; more would fit"
        if value == most
        else f"{value + 1:,} would need {peak(value + 1) / 1e9:.2f} GB"
    )
    if recomputes(value):
        why = f"with gradient_checkpointing; {why}"
    return Largest(field, value, peak(value), why)


def _peak_bytes(spec: ModelSpec, settings: PlanSettings, changes: Mapping[str, object]) -> int:
    return estimate(spec, settings.model_copy(update=changes)).peak.total_bytes


def _last(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The last of low … high that fits, where `low` does and all after the first that does not do not either."""
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
