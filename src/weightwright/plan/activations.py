"""Activation memory: the bytes per token that each layer keeps for the backward pass, as `tune` computes it."""

from weightwright.plan import measured
from weightwright.plan.params import targeted
from weightwright.plan.parts import Layer, Linear
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec
from weightwright.plan.steps import in_two_steps


def kept_bytes(spec: ModelSpec, settings: PlanSettings, layer: Layer, size: int) -> int:
    """Bytes of one token in one layer; `size` is that of a number in the compute dtype."""
    if settings.task == "full":
        return _trained(spec, layer, size)
    names = {linear.name for _, linear in targeted(spec, settings.targets)}
    adapted = [linear for linear in layer.linears if linear.name in names]
    return _frozen(spec, settings, layer, size) + _adapters(spec, settings, layer, adapted, size)


def kept_recomputing(spec: ModelSpec, settings: PlanSettings, layer: Layer, size: int) -> tuple[int, int]:
    """Bytes of one token in one layer where activations are recomputed, and those that are made again at a time."""
    whole = kept_bytes(spec, settings, layer, size)
    if not in_two_steps(spec, settings, layer):
        return size * spec.hidden, whole
    again = size * measured.KEPT_INNER * layer.inner
    return whole - again, again


def _frozen(spec: ModelSpec, settings: PlanSettings, layer: Layer, size: int) -> int:
    """A layer whose own weights are not trained."""
    if in_two_steps(spec, settings, layer):  # norms are made again
        return size * (measured.KEPT_NORMS * spec.hidden + _attention(layer) + _mlp(spec, layer))
    # on a GPU a norm is transformers' own, which keeps its input in f32
    of_norm = size * measured.KEPT_BY_NORM if settings.on_cpu else size + 4
    kept = measured.KEPT_NORMS * spec.hidden * of_norm + size * (_attention(layer) + _mlp(spec, layer))
    if layer.qk_norm:
        kept += (size if settings.on_cpu else 4) * (layer.queries + layer.keys)
    return kept


def _adapters(spec: ModelSpec, settings: PlanSettings, layer: Layer, adapted: list[Linear], size: int) -> int:
    """Bytes that adapters keep in addition to the layer's own."""
    inputs, outputs = sum(one.inputs for one in adapted), sum(one.outputs for one in adapted)
    kept = size * settings.rank * len(adapted)
    if settings.dropout:  # each layer's own input, instead of what they share
        shared = measured.KEPT_NORMS * spec.hidden + layer.queries
        kept += size * (measured.KEPT_BY_DROPOUT * inputs - shared)
    if settings.dora:  # the product that the magnitude scales; without dropout gate and up are kept anyway
        wide = sum(one.outputs for one in adapted if one.inputs == spec.hidden and one.outputs == layer.inner)
        kept += size * (outputs if settings.dropout else outputs - wide)
    return kept


def _trained(spec: ModelSpec, layer: Layer, size: int) -> int:
    """A layer with all its weights. Under autocast norms stay in f32, each linear layer has an input of its own."""
    product = _trained_product(layer)
    # what a norm takes, and what it normalised; what it gives is shared
    more = measured.KEPT_BY_TRAINED_NORM - 1
    norms = measured.KEPT_NORMS * spec.hidden
    normed = layer.queries + layer.keys if layer.qk_norm else 0
    kept = 4 * more * (norms + normed) + size * (_attention(layer) + _mlp(spec, layer) + product)
    if size == 4:
        return kept + 4 * norms
    return kept + size * (sum(one.inputs for one in layer.linears) - layer.queries - product)


def _attention(layer: Layer) -> int:
    """Numbers: queries and keys after the rotation, values, and what attention gives."""
    return measured.KEPT_QUERIES * layer.queries + measured.KEPT_KEYS * (layer.keys + layer.values)


def _mlp(spec: ModelSpec, layer: Layer) -> int:
    if layer.experts is None:
        return measured.KEPT_INNER * layer.inner
    routed = measured.KEPT_BY_EXPERT * layer.experts.active * spec.hidden
    return measured.KEPT_BY_EXPERTS_INNER * layer.inner + routed


def _trained_product(layer: Layer) -> int:
    """Of a trained gated MLP, what its last layer takes."""
    gated = layer.gated and layer.experts is None
    return (measured.KEPT_TRAINED_INNER - measured.KEPT_INNER) * layer.inner if gated else 0
