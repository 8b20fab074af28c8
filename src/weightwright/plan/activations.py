"""What the layers of a model keep of a token from the forward to the backward pass, as `tune` computes them."""

from weightwright.plan import measured
from weightwright.plan.params import targeted
from weightwright.plan.parts import Layer, Linear
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec


def kept_bytes(spec: ModelSpec, settings: PlanSettings, layer: Layer, size: int) -> int:
    """Bytes of one token in one layer; `size` is that of a number that is computed with."""
    if settings.task == "full":
        return _trained(spec, layer, size)
    names = {linear.name for _, linear in targeted(spec, settings.targets)}
    adapted = [linear for linear in layer.linears if linear.name in names]
    return _frozen(spec, settings, layer, size) + _adapters(spec, settings, layer, adapted, size)


def _frozen(spec: ModelSpec, settings: PlanSettings, layer: Layer, size: int) -> int:
    """A layer whose own weights are not trained."""
    # on a GPU a norm is transformers' own, which keeps its input in f32
    of_norm = size * measured.KEPT_BY_NORM if settings.on_cpu else size + 4
    found = measured.KEPT_NORMS * spec.hidden * of_norm + size * (_attention(layer) + _mlp(spec, layer))
    if layer.qk_norm:
        found += (size if settings.on_cpu else 4) * (layer.queries + layer.keys)
    return found


def _adapters(spec: ModelSpec, settings: PlanSettings, layer: Layer, adapted: list[Linear], size: int) -> int:
    found = size * settings.rank * len(adapted)
    inputs, outputs = (sum(getattr(one, side) for one in adapted) for side in ("inputs", "outputs"))
    if settings.dropout:  # each layer's own, instead of what they share
        found += size * (
            measured.KEPT_BY_DROPOUT * inputs - measured.KEPT_NORMS * spec.hidden - layer.queries
        )
    if settings.dora:  # the product that the magnitude scales; that of gate and up is kept anyway
        wide = sum(one.outputs for one in adapted if one.inputs == spec.hidden and one.outputs == layer.inner)
        found += size * (outputs - wide)
    return found


def _trained(spec: ModelSpec, layer: Layer, size: int) -> int:
    """A layer with all its weights: norms in f32, each linear layer with an input of its own under autocast."""
    norms = measured.KEPT_NORMS * spec.hidden
    if size == 4:
        found = 4 * measured.KEPT_BY_TRAINED_NORM * norms
        if layer.qk_norm:
            found += 4 * (measured.KEPT_BY_TRAINED_NORM - 1) * (layer.queries + layer.keys)
        return found + 4 * (_attention(layer) + _mlp(spec, layer) + _trained_product(layer))
    found = 4 * (measured.KEPT_BY_TRAINED_NORM - 1) * norms
    if layer.qk_norm:
        found += 4 * (measured.KEPT_BY_TRAINED_NORM - 1) * (layer.queries + layer.keys)
    cast = sum(one.inputs for one in layer.linears) - layer.queries - _trained_product(layer)
    return found + size * (cast + _attention(layer) + _mlp(spec, layer) + _trained_product(layer))


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
