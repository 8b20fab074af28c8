"""One plan, from settings to what they lead to: counts, phases, what fits, what to change."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightwright.address.models import parse_model
from weightwright.errors import ModelError
from weightwright.hub import quantized, weight_files
from weightwright.hub.store import locate
from weightwright.plan import spec
from weightwright.plan.advice import Advice, advise, fewer_rows
from weightwright.plan.fits import decide
from weightwright.plan.layout import Rows
from weightwright.plan.limit import Limit, limit_of
from weightwright.plan.memory import estimate
from weightwright.plan.phases import Estimate
from weightwright.plan.published import Published, published
from weightwright.plan.search import Largest, largest
from weightwright.plan.settings import PlanSettings
from weightwright.plan.timing import Timing, timing


@dataclass(frozen=True, slots=True)
class Plan:
    """What a task takes, whether it fits, and what would be better."""

    estimate: Estimate
    limit: Limit
    advice: tuple[Advice, ...]
    published: tuple[Published, ...] = ()
    largest: Largest | None = None
    timing: Timing | None = None
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the peak is within the limit, as far as one is known."""
        return not self.limit.bytes or self.estimate.peak.total_bytes <= self.limit.bytes

    def data(self) -> dict[str, Any]:
        """The plan as JSON; some keys are there only where they apply."""
        estimated, peak = self.estimate, self.estimate.peak
        data: dict[str, Any] = {
            "parameters": estimated.parameters,
            "trainable_parameters": estimated.trainable_parameters,
            "peak_bytes": peak.total_bytes,
            "breakdown": dict(peak.parts),
            "fits": self.fits,
            "advice": [{"setting": one.setting, "value": one.value, "why": one.why} for one in self.advice],
        }
        if self.limit.total_bytes is not None:
            data["memory"] = {"free_bytes": self.limit.bytes, "total_bytes": self.limit.total_bytes}
        if estimated.active_parameters != estimated.parameters:
            data["active_parameters"] = estimated.active_parameters
        if self.timing is not None:
            data["time"] = self.timing.data()
        if self.published:
            data["published"] = [
                {"figure": one.figure, "published": one.published, "ours": one.ours, "why": one.why}
                for one in self.published
            ]
        if self.largest is not None:
            one = self.largest
            data["search"] = {
                "setting": one.setting,
                "value": one.value,
                "peak_bytes": one.peak_bytes,
                "why": one.why,
            }
        return data


def plan(
    settings: PlanSettings,
    rows: Rows | None = None,
    held_out: Rows | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Plan a task, and draw its phases where the settings name a file.

    `rows` and `held_out` are the real ones' lengths, where the settings name their files; `notes` of them are kept.
    Raises ModelError for a model that is not here or not known, SettingsError for what cannot be planned.
    """
    shape = shape_of(settings.model)
    settings = _resolved(settings, rows)
    limit = limit_of(settings)
    largest_fit = largest(shape, settings, limit.bytes) if settings.search else None
    decision = decide(shape, settings, limit.bytes)
    settings = decision.settings
    taken = estimate(shape, settings)
    advised = advise(settings, taken.peak.total_bytes, limit.bytes, shape)
    if decision.why:
        smaller = fewer_rows(shape, settings, limit.bytes)
        advised += [smaller] if smaller else []
        advised.append(
            Advice(
                "gradient_checkpointing", settings.gradient_checkpointing, f"auto turns it on: {decision.why}"
            )
        )
    if settings.plot is not None:
        _draw(settings.plot, taken, limit)
    return Plan(
        taken,
        limit,
        tuple(advised),
        tuple(published(shape, settings, taken)),
        largest_fit,
        timing(shape, settings, rows, held_out),
        notes,
    )


def shape_of(text: str) -> spec.ModelSpec:
    """The shape of the model at an address, or of a config.json or a GGUF file. Raises ModelError."""
    file = Path(text).expanduser()
    if file.suffix in (".json", ".gguf") and file.is_file():
        return _readable(file)
    address = parse_model(text)
    if address.kind in ("server", "extract"):
        raise ModelError(f"{text} has no weights here to plan for; expected a model address or a config.json")
    path = locate(replace(address, adapter=None))
    if path is None:
        remedy = f"run: weightwright pull {text}, or " if address.hub_id else ""
        beside = f"; for the folder {text} write ./{text}" if address.hub_id and file.exists() else ""
        raise ModelError(f"{text} is not on this machine; {remedy}give the path of its config.json{beside}")
    return _readable(path)


def _readable(path: Path) -> spec.ModelSpec:
    """The shape of a folder, a config.json or a GGUF file. Raises ModelError for what could not be loaded either."""
    if path.is_dir() and not (path / "config.json").is_file():
        adapter = path / "adapter_config.json"
        if not adapter.is_file():
            raise ModelError(f"{path} holds no config.json; expected a model as save_pretrained writes it")
        base = weight_files.read_json(adapter).get("base_model_name_or_path") or "BASE"
        raise ModelError(
            f"{path} is a LoRA adapter, whose base model is planned for: plan {base} --task serve"
        )
    if path.suffix != ".gguf":
        folder, file = (path, path / "config.json") if path.is_dir() else (path.parent, path)
        why = quantized.refusal(quantized.of_config(weight_files.read_json(file), folder))
        if why:
            raise ModelError(f"{path} could not be loaded: {why}")
    return spec.from_file(path)


def _resolved(settings: PlanSettings, rows: Rows | None) -> PlanSettings:
    """The settings with what the address, the accelerator and the rows say.

    The precision of the address (`…:int8`) goes before the option; no pass is longer than the longest row.
    """
    update: dict[str, Any] = {}
    if Path(settings.model).suffix not in (".json", ".gguf"):
        wanted = parse_model(settings.model).precision
        update |= {"precision": wanted} if wanted else {}
    if settings.accelerator is not None and settings.device == "auto":
        update["device"] = "cuda"
    if rows is not None:
        update |= {"rows": len(rows.examples), "max_length": max(2, *map(max, rows.examples))}
    return settings.model_copy(update=update)


def _draw(file: Path, taken: Estimate, limit: Limit) -> None:
    from weightwright.files import write_whole
    from weightwright.plots import memory_phases

    phases = {phase.name: phase.parts for phase in taken.phases}
    write_whole(file, memory_phases(phases, limit_bytes=limit.bytes))
