"""How fast a model answers: prompts by the products of a step, new tokens by reading the weights and the cache."""

from dataclasses import dataclass

from weightwright.machine.rates import Rates
from weightwright.plan import measured, work
from weightwright.plan.serving import bytes_a_weight, kv_bytes, served_precision, served_weight_bytes
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class ServingSpeed:
    """Rates with all `sequences` at work, each with half of its context filled."""

    sequences: int
    prompt_tokens: int  # of the prompt that `first_token_s` is said of
    prefill_tokens_per_s: float
    first_token_s: float
    decode_tokens_per_s: float  # of all sequences together

    @property
    def sequence_tokens_per_s(self) -> float:
        """New tokens a second of one sequence."""
        return self.decode_tokens_per_s / self.sequences


def serving_speed(spec: ModelSpec, settings: PlanSettings, rates: Rates) -> ServingSpeed:
    """Prefill of a prompt that fills half of the context, and steps of one token of each sequence."""
    precision = served_precision(spec, settings)
    gain = measured.PRODUCTS_GAIN[precision] if settings.on_cpu else 1.0
    prompt = max(1, settings.context // 2)
    layers, head = work.layer_flops(spec), work.head_flops(spec)
    attention = work.ATTENTION_FORWARD * work.attention_flops(spec) / rates.attention
    elements = work.element_numbers(spec) * 4 / rates.elements
    calls_s = spec.layers * work.CALLS_STEP * rates.call_s
    steps = -(-prompt // measured.STEP_TOKENS)
    first_s = (
        prompt * (layers / (gain * rates.forward) + elements)
        + prompt**2 * attention
        + head / (gain * rates.head)
        + steps * calls_s
    )
    read = served_weight_bytes(spec, precision, on_cpu=settings.on_cpu) - _idle_bytes(spec, settings)
    half = settings.model_copy(update={"context": prompt})
    step_s = (
        (read + kv_bytes(spec, half)) / rates.memory
        + settings.sequences * (layers / (gain * rates.forward) + head / (gain * rates.head) + elements)
        + calls_s
    )
    return ServingSpeed(settings.sequences, prompt, prompt / first_s, first_s, settings.sequences / step_s)


def _idle_bytes(spec: ModelSpec, settings: PlanSettings) -> float:
    """Weights that a step does not read: of the embedding all but a row a sequence, and experts that none chose."""
    precision = served_precision(spec, settings)
    size, of_experts = measured.COMPUTE_BYTES[precision], bytes_a_weight(precision, on_cpu=settings.on_cpu)
    idle = float(spec.embedding_weights) * size
    for layer in spec.kinds:
        if layer.experts:
            missed = (1 - layer.experts.active / layer.experts.count) ** settings.sequences
            idle += layer.count * missed * layer.experts.total_weights * of_experts
    return idle
