"""`weightwright plan`: does it fit, what will it cost, which settings."""

from collections.abc import Sequence
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.errors import ModelError
from weightwright.plan import advice, memory, spec
from weightwright.plan.fits import decide
from weightwright.plan.published import Published, published
from weightwright.plan.search import Largest, largest
from weightwright.plan.settings import PlanSettings


@verb(PlanSettings, section="plan", positional=("model",))
def plan(settings: PlanSettings) -> Outcome:
    """Say how many parameters a task trains, how much memory it needs, and how to set it."""
    shape = _shape(settings.model)
    settings = _as_addressed(settings)
    limit = memory.memory_limit(settings)
    found = largest(shape, settings, limit) if settings.search else None
    decision = decide(shape, settings, limit)
    settings = decision.settings
    estimate = memory.estimate(shape, settings)
    peak = estimate.peak
    advised = advice.advise(settings, peak.total_bytes, limit, shape)
    if decision.why:
        advised.append(advice.Advice("gradient_checkpointing", True, f"auto turns it on: {decision.why}"))
    known = published(shape, settings, estimate)
    if settings.plot is not None:
        _draw(settings, estimate, limit)
    data = {
        "parameters": estimate.parameters,
        "trainable_parameters": estimate.trainable_parameters,
        "peak_bytes": peak.total_bytes,
        "breakdown": dict(peak.parts),
        "fits": not limit or peak.total_bytes <= limit,
        "advice": [{"setting": a.setting, "value": a.value, "why": a.why} for a in advised],
    }
    return Outcome(
        data | _where_they_apply(estimate, known, found), _view(estimate, limit, advised, known, found)
    )


def _where_they_apply(
    estimate: memory.Estimate, known: list[Published], found: Largest | None
) -> dict[str, Any]:
    """The keys of the result that only some plans have."""
    data: dict[str, Any] = {}
    if estimate.active_parameters != estimate.parameters:
        data["active_parameters"] = estimate.active_parameters
    if known:
        data["published"] = [
            {"figure": one.figure, "published": one.published, "ours": one.ours, "why": one.why}
            for one in known
        ]
    if found is not None:
        data["search"] = {"setting": found.setting, "value": found.value, "peak_bytes": found.peak_bytes,
                          "why": found.why}  # fmt: skip
    return data


def _shape(text: str) -> spec.ModelSpec:
    """The shape of the model at an address, or of a config.json."""
    from weightwright.address.models import parse_model
    from weightwright.hub.store import locate

    address = parse_model(text)
    if address.path is not None and address.path.is_file():
        return spec.from_file(address.path)
    found = locate(address)
    if found is None:
        raise ModelError(
            f"{text} is not on this machine; run: weightwright pull {text}, "
            "or give the path of its config.json"
        )
    return spec.from_file(found)


def _as_addressed(settings: PlanSettings) -> PlanSettings:
    """The settings with the precision that the address asks for (`…:int8`), which goes before the option."""
    from weightwright.address.models import parse_model

    wanted = parse_model(settings.model).precision
    return settings.model_copy(update={"precision": wanted}) if wanted else settings


def _draw(settings: PlanSettings, estimate: memory.Estimate, limit: int) -> None:
    from weightwright.files import write_whole
    from weightwright.plots import memory_phases

    assert settings.plot is not None
    phases = {phase.name: phase.parts for phase in estimate.phases}
    write_whole(settings.plot, memory_phases(phases, limit_bytes=limit))


def _view(
    estimate: memory.Estimate,
    limit: int,
    advised: list[advice.Advice],
    known: list[Published],
    found: Largest | None,
) -> Any:
    from rich.console import Group

    peak = estimate.peak
    shown: list[Any] = [_counts(estimate), _breakdown(estimate)]
    if limit:
        verdict = "fits" if peak.total_bytes <= limit else "does not fit"
        shown.append(f"{verdict} into {limit / 1e9:.1f} GB")
    if found is not None:
        value = f"{found.value:,}" if found.value else "none"
        shown.append(
            f"largest {found.setting} that fits: {value} ({found.peak_bytes / 1e9:.2f} GB; {found.why})"
        )
    shown += [f"note: {note}" for note in estimate.notes]
    if known:
        rows = [(one.figure, one.published, one.ours, one.why) for one in known]
        shown.append(_table(("figures you may know", "published", "here", "why"), rows))
    if advised:
        settings = [(one.setting, one.text, one.why) for one in advised]
        shown.append(_table(("setting", "value", "why"), settings))
    return Group(*shown)


def _counts(estimate: memory.Estimate) -> str:
    trained = estimate.trainable_parameters
    active = ""
    if estimate.active_parameters != estimate.parameters:
        active = f", {estimate.active_parameters:,} of them for a token"
    share = f", {trained:,} trained ({trained / estimate.parameters:.2%})" if trained else ""
    return f"{estimate.parameters:,} parameters{active}{share}"


def _breakdown(estimate: memory.Estimate) -> Any:
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
