"""Exact counts: parameters of a model, those that a token meets, and those of a LoRA adapter."""

from weightwright.config import nearest
from weightwright.errors import SettingsError
from weightwright.plan.spec import Linear, ModelSpec

ALL_LINEAR = "all-linear"


def count_params(spec: ModelSpec) -> int:
    """Parameters of the model; a tied head is counted once."""
    layers = sum(layer.count * layer.weights for layer in spec.kinds)
    outer = sum(linear.weights for linear in spec.outer) + spec.final_norm_weights
    return spec.embedding_weights + layers + outer + head_weights(spec)


def active_params(spec: ModelSpec) -> int:
    """Parameters that take part in one token: all but the experts that the router leaves out."""
    idle = sum(layer.count * layer.experts.idle_weights for layer in spec.kinds if layer.experts)
    return count_params(spec) - idle


def head_weights(spec: ModelSpec) -> int:
    """Numbers that the head adds to the embedding: all of its own, or only its bias where it is tied."""
    return (spec.head.outputs if spec.head.bias else 0) if spec.tied else spec.head.weights


def count_lora(spec: ModelSpec, rank: int, targets: str = ALL_LINEAR, *, dora: bool = False) -> int:
    """Parameters of an adapter of `rank` on `targets` (`q_proj,v_proj`, `all-linear`, `all-linear,lm_head`).

    Each matrix [outputs, inputs] gets [rank, inputs] and [outputs, rank] (arXiv 2106.09685, §4.1). The stacked
    matrices of experts are no linear layers and get none; nor do those beside them that `spec.taken` names. DoRA
    adds a magnitude an output (arXiv 2402.09353, §4.1).
    """
    return sum(
        n * (lora_params(linear.inputs, linear.outputs, rank) + (linear.outputs if dora else 0))
        for n, linear in targeted(spec, targets)
    )


def targeted(spec: ModelSpec, targets: str) -> list[tuple[int, Linear]]:
    """The matrices that `targets` names, the head among them where it is named, each with how many there are.

    Raises SettingsError naming the layers that the model has.
    """
    matrices = [(layer.count, linear) for layer in spec.kinds for linear in layer.linears]
    matrices += [(1, linear) for linear in spec.outer]
    inner = {linear.name for _, linear in matrices} - set(spec.taken)
    known = inner | {spec.head.name}
    wanted: set[str] = set()
    for target in filter(None, (part.strip() for part in targets.split(","))):
        if target == ALL_LINEAR:
            wanted |= inner
        elif target in known:
            wanted.add(target)
        elif target in spec.taken:
            raise SettingsError(
                f"targets: no adapter reaches {target} of {spec.family}: peft takes it for experts, or code reads "
                f"its weight itself; choose from {', '.join(sorted(known))}"
            )
        else:
            raise SettingsError(f"targets: the model has no layer {target!r}{nearest(target, known)}")
    if not wanted:
        raise SettingsError(f"targets={targets!r} names no layer; known: {', '.join(sorted(known))}")
    return [(n, linear) for n, linear in [*matrices, (1, spec.head)] if linear.name in wanted]


def lora_params(inputs: int, outputs: int, rank: int) -> int:
    """Parameters that LoRA trains instead of a matrix [outputs, inputs]."""
    return rank * (inputs + outputs)
