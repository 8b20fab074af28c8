"""Which layers tuning runs as two steps that keep and make again less (see `tune.fused.layer`)."""

from weightwright.plan.parts import Layer
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec

# whose layers were seen to be of that kind: tests hold it against the models themselves
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})


def in_two_steps(spec: ModelSpec, settings: PlanSettings, layer: Layer) -> bool:
    """Whether a layer is run so: frozen, without dropout, on a CPU, and not recomputed as a whole."""
    tuned = settings.task in ("lora", "qlora") and settings.on_cpu and not settings.dropout
    tuned &= settings.gradient_checkpointing is not True
    return tuned and spec.family in FAMILIES and layer.gated and layer.experts is None and not layer.state


def made_again(spec: ModelSpec, settings: PlanSettings) -> float:
    """The share of the layers' forward products that recomputing activations makes again: gate and up, or all."""
    every = sum(layer.count * layer.linear_weights for layer in spec.kinds) or 1
    again = sum(
        layer.count
        * (2 * spec.hidden * layer.inner if in_two_steps(spec, settings, layer) else layer.linear_weights)
        for layer in spec.kinds
    )
    return again / every
