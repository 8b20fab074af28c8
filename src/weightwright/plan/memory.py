"""Memory of serving and training: bytes by part for each phase; the peak is the largest phase."""

from weightwright.plan.params import active_params, count_params
from weightwright.plan.phases import Estimate, Phase
from weightwright.plan.serving import kv_bytes, served_weight_bytes, serving_phases
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec
from weightwright.plan.training import trained_params, training_phases, weight_bytes

__all__ = ["Estimate", "Phase", "estimate", "kv_bytes", "served_weight_bytes", "weight_bytes"]


def estimate(spec: ModelSpec, settings: PlanSettings) -> Estimate:
    """Memory of a task. Raises SettingsError for what the model cannot be held in."""
    serving = settings.task == "serve"
    return Estimate(
        parameters=count_params(spec),
        trainable_parameters=0 if serving else trained_params(spec, settings),
        phases=serving_phases(spec, settings) if serving else training_phases(spec, settings),
        notes=tuple(_notes(spec, settings)),
        active_parameters=active_params(spec),
    )


def _notes(spec: ModelSpec, settings: PlanSettings) -> list[str]:
    """What the user should know about an estimate."""
    notes = []
    if spec.expert_weights and settings.task in ("lora", "qlora"):
        held = ", which stay in bf16" if settings.task == "qlora" else ""
        notes.append(
            f"adapters do not reach the experts{held}: their matrices are stacked, not linear layers"
        )
        beside = {linear.name for one in spec.kinds for linear in one.linears} & set(spec.taken)
        if beside:
            notes.append(
                f"nor {', '.join(sorted(beside))} beside them, whose names peft takes for the experts"
            )
    if settings.task == "qlora" and not spec.expert_weights:
        kept = count_params(spec) - spec.linear_weights
        notes.append(
            f"4 bits hold the layers' matrices; {kept:,} weights of embedding, head and norms stay in bf16"
        )
    return notes
