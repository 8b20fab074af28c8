"""`weightwright plan`: does it fit, what will it cost, which settings."""

from collections.abc import Sequence
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.plan.phases import Estimate
from weightwright.plan.run import Plan
from weightwright.plan.run import plan as planned
from weightwright.plan.settings import PlanSettings


@verb(PlanSettings, section="plan", positional=("model",))
def plan(settings: PlanSettings) -> Outcome:
    """Say how many parameters a task trains, how much memory it needs, and how to set it."""
    result = planned(settings)
    return Outcome(result.data(), _view(result))


def _view(plan: Plan) -> Any:
    from rich.console import Group

    shown: list[Any] = [_counts(plan.estimate), _breakdown(plan.estimate)]
    if plan.limit.bytes:
        shown.append(_verdict(plan))
    if plan.largest is not None:
        largest = plan.largest
        value = f"{largest.value:,}" if largest.value else "none"
        shown.append(
            f"largest {largest.setting} that fits: {value} ({largest.peak_bytes / 1e9:.2f} GB; {largest.why})"
        )
    shown += [f"note: {note}" for note in plan.estimate.notes]
    if plan.published:
        rows = [(one.figure, one.published, one.ours, one.why) for one in plan.published]
        shown.append(_table(("figures you may know", "published", "here", "why"), rows))
    if plan.advice:
        settings = [(one.setting, one.text, one.why) for one in plan.advice]
        shown.append(_table(("setting", "value", "why"), settings))
    return Group(*shown)


def _verdict(plan: Plan) -> str:
    limit, total = plan.limit.bytes, plan.limit.total_bytes
    said = f"{'fits' if plan.fits else 'does not fit'} into {limit / 1e9:.1f} GB"
    if total is None:
        return said
    said += f", which are free now, of {total / 1e9:.1f} GB"
    if limit < plan.estimate.peak.total_bytes <= total:
        said += "; with nothing else running it would"
    return said


def _counts(estimate: Estimate) -> str:
    trained = estimate.trainable_parameters
    active = ""
    if estimate.active_parameters != estimate.parameters:
        active = f", {estimate.active_parameters:,} of them for a token"
    share = f", {trained:,} trained ({trained / estimate.parameters:.2%})" if trained else ""
    return f"{estimate.parameters:,} parameters{active}{share}"


def _breakdown(estimate: Estimate) -> Any:
    """The parts of the peak, and below them the other phases."""
    peak = estimate.peak
    rows = [
        (name, f"{size / 1e9:.2f}") for name, size in sorted(peak.parts.items(), key=lambda item: -item[1])
    ]
    rows.append(("together", f"{peak.total_bytes / 1e9:.2f}"))
    others = [
        (f"({phase.name})", f"{phase.total_bytes / 1e9:.2f}")
        for phase in estimate.phases
        if phase is not peak
    ]
    return _table(("part", "GB"), rows + others, title=f"peak: {peak.name}")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], title: str | None = None) -> Any:
    from rich.table import Table

    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table
