"""What a model computes for each token: operations of its products, numbers that pass through its other layers."""

from weightwright.plan.params import targeted
from weightwright.plan.parts import Layer
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec

# Numbers read and written by all that is no product, forward, in widths of a token: two norms and two additions to
# the residual stream; queries and keys rotated, and what attention takes and gives laid out anew; the MLP's gate.
ELEMENTS_HIDDEN, ELEMENTS_ATTENTION, ELEMENTS_INNER = 10, 12, 3
# The backward pass reads a gradient beside each number and writes another.
ELEMENTS_BACKWARD = 2.0
ELEMENTS_VOCABULARY = 4  # logits: written, read for the largest, for the sum, and as their gradient
# Operations of a layer in a pass, forward and backward; of each row's attention; of a layer in the engine's step.
CALLS_FORWARD, CALLS_BACKWARD, CALLS_ROW, CALLS_STEP = 90, 160, 25, 12
# Products of [tokens, tokens, width], of which causal attention needs half (the weights are made again).
ATTENTION_FORWARD, ATTENTION_BACKWARD = 1.0, 2.5


def layer_flops(spec: ModelSpec) -> float:
    """Operations of all layers' products for one token, forward (2 for each weight that it meets)."""
    return sum(2.0 * layer.count * _met(layer) for layer in spec.kinds) + 2.0 * sum(
        one.inputs * one.outputs for one in spec.outer
    )


def _met(layer: Layer) -> int:
    """Weights of a layer that one token is multiplied with."""
    experts = layer.experts.active * layer.experts.weights if layer.experts else 0
    return sum(one.inputs * one.outputs for one in layer.linears) + experts


def head_flops(spec: ModelSpec) -> float:
    """Operations of the head's product for one token, forward."""
    return 2.0 * spec.head.inputs * spec.head.outputs


def adapter_flops(spec: ModelSpec, settings: PlanSettings) -> float:
    """Operations of an adapter's products for one token, forward; backward they are twice as many."""
    return sum(
        2.0 * count * settings.rank * (one.inputs + one.outputs)
        for count, one in targeted(spec, settings.targets)
    )


def attention_flops(spec: ModelSpec) -> float:
    """Operations of one product of a row's whole square, for a square of one token: all layers, all heads."""
    return sum(2.0 * layer.count * layer.queries for layer in spec.kinds if not layer.state)


def element_numbers(spec: ModelSpec) -> float:
    """Numbers that pass through all layers' work other than products for one token, forward."""
    return sum(
        float(layer.count)
        * (
            ELEMENTS_HIDDEN * spec.hidden
            + ELEMENTS_ATTENTION * (layer.queries + layer.keys)
            + ELEMENTS_INNER * layer.inner
        )
        for layer in spec.kinds
    )
