"""`weightwright plan`: does it fit, what will it cost, which settings."""

from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.errors import ModelError
from weightwright.plan import advice, memory, spec
from weightwright.plan.settings import PlanSettings


@verb(PlanSettings, section="plan", positional=("model",))
def plan(settings: PlanSettings) -> Outcome:
    """Say how many parameters a task trains, how much memory it needs, and how to set it."""
    estimate = memory.estimate(_shape(settings.model), settings)
    limit = settings.device_bytes or memory.machine_bytes()
    peak = estimate.peak
    advised = advice.advise(settings, peak.total_bytes, limit)
    data = {
        "parameters": estimate.parameters,
        "trainable_parameters": estimate.trainable_parameters,
        "peak_bytes": peak.total_bytes,
        "breakdown": dict(peak.parts),
        "fits": not limit or peak.total_bytes <= limit,
        "advice": [{"setting": a.setting, "value": a.value, "why": a.why} for a in advised],
    }
    return Outcome(data, _view(estimate, limit, advised))


def _shape(text: str) -> spec.ModelSpec:
    """The shape of the model at an address, or of a config.json."""
    from weightwright.model.address import parse_model
    from weightwright.model.hub import locate

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


def _view(estimate: memory.Estimate, limit: int, advised: list[advice.Advice]) -> Any:
    from rich.console import Group
    from rich.table import Table

    peak = estimate.peak
    trained = estimate.trainable_parameters
    share = f", {trained:,} trained ({trained / estimate.parameters:.2%})" if trained else ""
    parts = Table("part", "GB", title=f"peak: {peak.name}", title_justify="left")
    for name, size in sorted(peak.parts.items(), key=lambda item: -item[1]):
        parts.add_row(name, f"{size / 1e9:.2f}")
    parts.add_row("together", f"{peak.total_bytes / 1e9:.2f}")
    lines = [f"{estimate.parameters:,} parameters{share}"]
    if limit:
        verdict = "fits" if peak.total_bytes <= limit else "does not fit"
        lines.append(f"{verdict} into {limit / 1e9:.1f} GB")
    if not advised:
        return Group(lines[0], parts, *lines[1:])
    settings = Table("setting", "value", "why")
    for one in advised:
        settings.add_row(one.setting, str(one.value), one.why)
    return Group(lines[0], parts, *lines[1:], settings)
