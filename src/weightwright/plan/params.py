"""Exact counts: parameters of a model, and of a LoRA adapter on any of its layers."""

from collections.abc import Iterable

from weightwright.config import nearest
from weightwright.errors import SettingsError
from weightwright.plan.spec import Linear, ModelSpec

ALL_LINEAR = "all-linear"


def count_params(spec: ModelSpec) -> int:
    """Parameters of the model; a tied head is counted once."""
    layer = sum(linear.weights for linear in spec.linears) + spec.norm_weights
    head = 0 if spec.tied else spec.head.weights
    return spec.embedding_weights + spec.layers * layer + spec.final_norm_weights + head


def count_lora(spec: ModelSpec, rank: int, targets: str = ALL_LINEAR) -> int:
    """Parameters of an adapter of `rank` on `targets` (`q_proj,v_proj`, `all-linear`, `all-linear,lm_head`).

    Each matrix [outputs, inputs] gets [rank, inputs] and [outputs, rank] (arXiv 2106.09685, §4.1).
    """
    layers, head = target_layers(spec, targets)
    return spec.layers * _lora(layers, rank) + _lora([spec.head] if head else [], rank)


def target_layers(spec: ModelSpec, targets: str) -> tuple[list[Linear], bool]:
    """The matrices of one layer that `targets` names, and whether the head is among them.

    Raises SettingsError naming the layers that the model has.
    """
    known = {linear.name for linear in spec.linears} | {spec.head.name}
    wanted: set[str] = set()
    for target in filter(None, (part.strip() for part in targets.split(","))):
        if target == ALL_LINEAR:
            wanted |= known - {spec.head.name}
        elif target in known:
            wanted.add(target)
        else:
            raise SettingsError(f"targets: the model has no layer {target!r}{nearest(target, known)}")
    if not wanted:
        raise SettingsError(f"targets={targets!r} names no layer; known: {', '.join(sorted(known))}")
    return [linear for linear in spec.linears if linear.name in wanted], spec.head.name in wanted


def lora_params(inputs: int, outputs: int, rank: int) -> int:
    """Parameters that LoRA trains instead of a matrix [outputs, inputs]."""
    return rank * (inputs + outputs)


def _lora(linears: Iterable[Linear], rank: int) -> int:
    return sum(lora_params(linear.inputs, linear.outputs, rank) for linear in linears)
