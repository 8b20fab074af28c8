"""Rules of thumb and published figures that users know, beside what is estimated here, with why they differ."""

from collections.abc import Iterator
from dataclasses import dataclass

from weightwright.plan.advice import QLORA_MEMORY, QLORA_TIME
from weightwright.plan.memory import estimate
from weightwright.plan.phases import Estimate
from weightwright.plan.serving import served_precision
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec

_BILLION = 1_000_000_000
_LLAMA_2_7B = 6_738_415_616
_LLAMA_2_LORA = {8: 16.42, 16: 16.47}  # rank -> GB


@dataclass(frozen=True, slots=True)
class Published:
    """A figure as it goes around, what stands for it here, and why they differ; all in words with units."""

    figure: str
    published: str
    ours: str
    why: str


def published(spec: ModelSpec, settings: PlanSettings, computed: Estimate) -> list[Published]:
    """The figures that apply to this model and task; none below a billion parameters, where they mean little."""
    if computed.parameters < _BILLION:
        return []
    return [
        *_two_bytes(spec, settings, computed),
        *_lora_on_llama(spec, settings, computed),
        *_thirty_three(spec, settings, computed),
        *_qlora(spec, settings, computed),
    ]


def _two_bytes(spec: ModelSpec, settings: PlanSettings, computed: Estimate) -> Iterator[Published]:
    thumb = 2 * computed.parameters
    seven = ": a 7B model about 14 GB" if 6.5 <= computed.parameters / _BILLION <= 7.7 else ""
    weights = computed.peak.parts["weights"]
    others = computed.peak.total_bytes - weights
    kept = served_precision(spec, settings) if settings.task == "serve" else settings.resolved_precision
    why = f"the rule counts weights in 16 bits and nothing else; here they are in {kept}"
    if settings.task == "serve" and kept == "bf16" and weights > thumb:
        why += ", and a head that is the embedding is packed a second time"
    why += f", and {_gb(others)} of other things are held at the peak"
    yield Published(f"FP16 takes 2 bytes a parameter{seven}", _gb(thumb), f"weights {_gb(weights)}", why)


def _lora_on_llama(spec: ModelSpec, settings: PlanSettings, computed: Estimate) -> Iterator[Published]:
    said = _LLAMA_2_LORA.get(settings.rank)
    if (
        settings.task != "lora"
        or said is None
        or (spec.family, computed.parameters) != ("llama", _LLAMA_2_7B)
    ):
        return
    other = 24 - settings.rank
    there = estimate(spec, settings.model_copy(update={"rank": other})).peak.total_bytes
    step = abs(computed.peak.total_bytes - there)
    yield Published(
        f"LoRA on Llama-2-7B at rank {settings.rank}",
        f"{said} GB",
        _gb(computed.peak.total_bytes),
        f"activations grow with the tokens of a pass, here {settings.max_length} a row at most, which the figure "
        f"does not state; rank {other} differs by {_gb(step)} here and 0.05 GB there, as a trained weight takes "
        "16 bytes here (f32 master, gradient and two moments)",
    )


def _thirty_three(spec: ModelSpec, settings: PlanSettings, computed: Estimate) -> Iterator[Published]:
    if not 30 <= computed.parameters / _BILLION <= 36:
        return
    if settings.task in ("serve", "lora"):
        full = settings.model_copy(update={"precision": "bf16"})
        yield Published(
            "a 33B model in FP16",
            "80 GB",
            _gb(estimate(spec, full).peak.total_bytes),
            f"its weights are {_gb(2 * computed.parameters)}; the rest of the 80 is room for a cache or activations, "
            "which the figure leaves open and which are counted here for what was asked",
        )
    quarter = settings.model_copy(update={"precision": "int4"} if settings.task == "serve" else
                                  {"task": "qlora", "precision": "auto"})  # fmt: skip
    if settings.task != "full" and not spec.expert_weights:
        yield Published(
            "a 33B model in 4 bits",
            "about 20 GB",
            _gb(estimate(spec, quarter).peak.total_bytes),
            "4 bits alone are 16.5 GB; blocks have scales, embedding and head stay in more bits, and what is "
            f"computed beside the weights is counted here{_at_least(spec, quarter)}",
        )


def _at_least(spec: ModelSpec, settings: PlanSettings) -> str:
    """What training takes where all that saves activations is on."""
    if settings.task == "serve":
        return ""
    saving = settings.model_copy(update={"micro_batch": 1, "gradient_checkpointing": True})
    return f"; with --micro-batch 1 --gradient-checkpointing: {_gb(estimate(spec, saving).peak.total_bytes)}"


def _qlora(spec: ModelSpec, settings: PlanSettings, computed: Estimate) -> Iterator[Published]:
    if settings.task not in ("lora", "qlora") or settings.resolved_precision not in ("bf16", "int4"):
        return
    low = settings.model_copy(update={"task": "qlora", "precision": "auto"})
    plain = settings.model_copy(update={"task": "lora", "precision": "auto"})
    small = computed if settings.task == "qlora" else estimate(spec, low)
    large = computed if settings.task == "lora" else estimate(spec, plain)
    saved = 1 - small.peak.total_bytes / large.peak.total_bytes
    yield Published(
        "QLoRA beside LoRA",
        f"-{QLORA_MEMORY} memory, +{QLORA_TIME} time",
        f"{-saved:+.0%} memory",
        "only the layers' matrices shrink, to about a quarter; the share depends on how much activations, embedding "
        "and head take beside them, the time on the kernels that undo the 4 bits: compare the times of both tasks",
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
