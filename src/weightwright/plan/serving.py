"""Memory of serving, as the engine holds it."""

from weightwright.errors import SettingsError
from weightwright.kernels.cache import BLOCK_TOKENS
from weightwright.machine.cpu import features
from weightwright.options import Precision
from weightwright.plan import measured
from weightwright.plan.phases import Phase
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec

# Bytes a weight of a linear layer; int4 has a scale and a zero point for each 32, in 8 bits where our kernels run,
# else in bf16.
_BYTES: dict[Precision, float] = {"f32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5 + 2 / 32}
_INT4_BF16 = 0.5 + 4 / 32
# whose experts transformers computes in ways of their own
_OWN_EXPERTS = ("jetmoe", "llama4", "llama4_text", "inkling_text")
# a weight's code, and the weight in bf16 before and after its scale (executor/weight_only)
_DEQUANTISING_BYTES = 5


def serving_phases(spec: ModelSpec, settings: PlanSettings) -> tuple[Phase, ...]:
    """Loading, prefill and decode. Raises SettingsError for a precision that experts cannot have."""
    precision = served_precision(spec, settings)
    weights = {
        "weights": served_weight_bytes(spec, precision, on_cpu=settings.on_cpu),
        "runtime": runtime_bytes(spec, settings),
    }
    held = {**weights, "kv_cache": kv_bytes(spec, settings)}
    step = step_bytes(spec, settings)
    if precision in ("int8", "int4") and not settings.on_cpu:
        held["dequantised"] = measured.DEQUANTISED_WEIGHTS * _DEQUANTISING_BYTES
    return (
        Phase("loading", {**weights, "matrix on its way": _loading_bytes(spec, precision)}),
        Phase("prefill", {**held, **step}),
        Phase("decode", {**held, "logits": step["logits"]}),
    )


def step_bytes(spec: ModelSpec, settings: PlanSettings) -> dict[str, int]:
    """What a step that reads prompts works on."""
    tokens = min(measured.STEP_TOKENS, settings.context * settings.sequences)
    # the residual stream, q|k|v and gate|up are f32, what goes into a product is at most f32
    widest = max(2 * one.queries + one.keys + one.values + 3 * one.inner for one in spec.kinds)
    logits = 3 * 4 * min(settings.sequences, tokens) * spec.vocabulary  # as they come, shaped, and sorted
    return {"activations": 4 * tokens * (2 * spec.hidden + widest), "logits": logits}


def served_precision(spec: ModelSpec, settings: PlanSettings) -> Precision:
    """What the engine holds the weights in. Raises SettingsError for what it cannot."""
    if settings.precision == "auto" and not packable(spec):
        return "bf16"
    precision = settings.resolved_precision
    packed = precision in ("int8", "int4")
    if packed and not packable(spec):
        raise SettingsError(
            f"precision={precision}: {spec.family} is a mixture of experts, whose matrices are not packed; "
            "use --precision bf16"
        )
    return precision


def packable(spec: ModelSpec) -> bool:
    """Whether the engine can hold the weights in int8 and int4: not experts that it cannot tell apart."""
    return not spec.expert_weights or spec.family not in _OWN_EXPERTS


def served_weight_bytes(spec: ModelSpec, precision: Precision, *, on_cpu: bool = True) -> int:
    """The weights as the engine holds them: the head packed apart even where it is the embedding, int8 for int4.

    Of a mixture in int4 the experts alone have 4 bits, all else 8; in f32 and bf16 they stay as they are.
    """
    size = measured.COMPUTE_BYTES[precision]
    coarse, finer = (
        bytes_a_weight(precision, on_cpu=on_cpu),
        _BYTES["int8" if precision == "int4" else precision],
    )
    linear = spec.linear_weights + sum(one.weights for one in spec.outer)
    other = sum(one.count * one.other_weights for one in spec.kinds) + spec.final_norm_weights
    rest = (spec.embedding_weights + other) * size + spec.head.weights * finer
    if spec.expert_weights:
        return int(linear * finer + spec.expert_weights * coarse + rest)
    return int(linear * coarse + rest)


def bytes_a_weight(precision: Precision, *, on_cpu: bool) -> float:
    """Of a matrix that is packed, with its scales."""
    kernels = on_cpu and "avx512_vnni" in features()
    return _BYTES[precision] if precision != "int4" or kernels else _INT4_BF16


def kv_bytes(spec: ModelSpec, settings: PlanSettings) -> int:
    """Keys and values of all sequences in every layer, in whole blocks; int8 has a scale a token and head.

    Linear attention keeps a state a sequence in f32, however long the sequence is.
    """
    tokens = settings.sequences * -(-settings.context // BLOCK_TOKENS) * BLOCK_TOKENS
    size = measured.COMPUTE_BYTES[settings.resolved_precision]
    total = 0
    for one in spec.kinds:
        if one.state:
            total += one.count * 4 * one.state * settings.sequences
        elif settings.kv_precision == "int8":
            total += one.count * tokens * (one.keys + one.values + 2 * 4 * one.kv_heads)
        else:
            total += one.count * tokens * (one.keys + one.values) * size
    return total


def runtime_bytes(spec: ModelSpec, settings: PlanSettings) -> int:
    """What is there before the model: the process and its tokenizer, or the context of a card."""
    if settings.device == "cuda":
        return measured.CUDA_CONTEXT_BYTES
    process = measured.RUNTIME_BYTES if settings.task == "serve" else measured.TRAINING_RUNTIME_BYTES
    return process + measured.TOKENIZER_BYTES * spec.vocabulary


def _loading_bytes(spec: ModelSpec, precision: Precision) -> int:
    """The largest matrix between its file and its packed form; a tied head's source is the embedding."""
    size = measured.COMPUTE_BYTES[precision]
    codes = 1 if precision in ("int8", "int4") else 0
    head = spec.head.weights * (codes + (0 if spec.tied else size))
    whole = [one.experts.weights if codes else one.experts.total_weights for one in spec.kinds if one.experts]
    return max(head, spec.largest_linear * (codes + size), max(whole, default=0) * (codes + size))
