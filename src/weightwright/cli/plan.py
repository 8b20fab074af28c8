"""`weightwright plan`: does it fit, what will it cost, which settings."""

from collections.abc import Sequence
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.plan.duration import Duration, span
from weightwright.plan.phases import Estimate
from weightwright.plan.run import Plan
from weightwright.plan.run import plan as planned
from weightwright.plan.serving_time import ServingSpeed
from weightwright.plan.settings import PlanSettings
from weightwright.plan.timing import Timing


@verb(PlanSettings, section="plan", positional=("model",))
def plan(settings: PlanSettings) -> Outcome:
    """Say how many parameters a task trains, how much memory and time it needs, what it costs, and how to set it."""
    if settings.data is None:
        result = planned(settings)
    else:
        from weightwright.tune.lengths import planned_rows

        result = planned(settings, *planned_rows(settings))
    return Outcome(result.data(), _view(result))


def _view(plan: Plan) -> Any:
    from rich.console import Group

    shown: list[Any] = [_counts(plan.estimate), _breakdown(plan.estimate)]
    if plan.limit.bytes:
        shown.append(_verdict(plan))
    shown += _time(plan.timing)
    if plan.largest is not None:
        largest = plan.largest
        value = f"{largest.value:,}" if largest.value else "none"
        shown.append(
            f"largest {largest.setting} that fits: {value} ({largest.peak_bytes / 1e9:.2f} GB; {largest.why})"
        )
    shown += [f"note: {note}" for note in (*plan.notes, *plan.estimate.notes)]
    if plan.published:
        rows = [(one.figure, one.published, one.ours, one.why) for one in plan.published]
        shown.append(_table(("figures you may know", "published", "here", "why"), rows))
    if plan.advice:
        settings = [(one.setting, one.text, one.why) for one in plan.advice]
        shown.append(_table(("setting", "value", "why"), settings))
    return Group(*shown)


def _time(timing: Timing | None) -> list[Any]:
    """How long it takes and what it costs, by parts."""
    if timing is None:
        return [
            "time: not estimated; name the machine (--accelerator l4, h100, …), or let this one be measured"
        ]
    shown: list[Any] = []
    if timing.speed is not None:
        shown.append(_speed(timing, timing.speed))
    elif timing.duration is not None:
        shown += _duration(timing, timing.duration)
    shown.append(f"rates: {timing.rates.source}")
    if timing.rates.disturbed:
        shown.append(
            f"note: other work runs here (the measurement got {timing.rates.share:.0%} of the cores): alone it would "
            "be faster; plan again when the machine is quiet"
        )
    return shown


def _duration(timing: Timing, duration: Duration) -> list[Any]:
    rate = f"{timing.tokens_per_s:,.0f} tokens/s"
    price = timing.price
    if not timing.whole:
        cost = f", {price.text(price.of(1e6 / timing.tokens_per_s))} a million" if price else ""
        return [f"time: {rate} in rows of full length{cost}; give --data or --rows for the whole run"]
    rows = [(part, span(s)) for part, s in sorted(duration.parts.items(), key=lambda item: -item[1])]
    cost = f", {price.text(price.of(duration.seconds))}" if price else ""
    said = f"time: {span(duration.seconds)}{cost} for {duration.steps:,} steps, {duration.tokens:,} tokens ({rate})"
    return [said, _table(("part", "time"), rows)]


def _speed(timing: Timing, speed: ServingSpeed) -> str:
    price = timing.price
    cost = ""
    if price is not None:
        new, prompt = (
            price.text(price.of(1e6 / r)) for r in (timing.tokens_per_s, speed.prefill_tokens_per_s)
        )
        cost = f"; a million new tokens {new}, of prompts {prompt}"
    return (
        f"speed: {timing.tokens_per_s:,.0f} new tokens/s with {speed.sequences} sequences "
        f"({speed.sequence_tokens_per_s:,.1f} each), prompts {speed.prefill_tokens_per_s:,.0f} tokens/s: the first "
        f"token after {span(speed.first_token_s)} for {speed.prompt_tokens:,}{cost}"
    )


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
