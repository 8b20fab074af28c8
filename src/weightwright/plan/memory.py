"""Memory of serving and training: bytes by part for each phase; the peak is the largest phase.

Formulas count what our own engine and training loop hold: the loss is made in bounded chunks, the LoRA
layers compute in the base's precision with f32 master weights, AdamW keeps two f32 numbers a weight.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from weightwright.plan.params import count_lora, count_params, target_layers
from weightwright.plan.settings import PlanSettings, Precision
from weightwright.plan.spec import ModelSpec

# Bytes a weight of a linear layer in training; int8 has one f32 scale a row, int4 (NF4) one a block of 64.
_WEIGHT_BYTES: dict[Precision, float] = {"f32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5 + 4 / 64}
# The same in the engine; its int4 has a scale and a zero point in bf16 for each 32.
_SERVED_BYTES: dict[Precision, float] = {"f32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5 + 4 / 32}
_COMPUTE_BYTES: dict[Precision, int] = {"f32": 4, "bf16": 2, "int8": 2, "int4": 2}
# Python with torch and transformers loaded, measured as the peak of a process with a model of 0.2 MB.
RUNTIME_BYTES = 560_000_000
# Of a token of the vocabulary while the tokenizer is loaded, measured with 49,152 and 151,665 of them.
TOKENIZER_BYTES = 950
LOSS_CHUNK_LOGITS = 8_000_000  # as tune/loss.py holds them
PASS_TOKENS = 1024
STEP_TOKENS = 512  # as engine/settings.py has it
BLOCK_TOKENS = 16  # as model/cache.py has them
SHORT_ROWS = 512  # up to here attention weights are kept whole, as tune/attention.py does


@dataclass(frozen=True, slots=True)
class Phase:
    """What is held at one moment, in bytes by part."""

    name: str
    parts: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts, phases, and the largest of them."""

    parameters: int
    trainable_parameters: int
    phases: tuple[Phase, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def peak(self) -> Phase:
        """The phase that decides whether the task fits."""
        return max(self.phases, key=lambda phase: phase.total_bytes)


def estimate(spec: ModelSpec, settings: PlanSettings) -> Estimate:
    """Memory of a task."""
    return _serve(spec, settings) if settings.task == "serve" else _train(spec, settings)


def weight_bytes(spec: ModelSpec, precision: Precision) -> int:
    """The model's weights: linear layers in `precision`, embeddings and norms in what they compute in."""
    linear = spec.layers * sum(layer.weights for layer in spec.linears)
    rest = count_params(spec) - linear
    return int(linear * _WEIGHT_BYTES[precision] + rest * _COMPUTE_BYTES[precision])


def served_weight_bytes(spec: ModelSpec, precision: Precision) -> int:
    """The weights as the engine holds them: the head packed apart even where it is the embedding, int8 for int4."""
    size = _COMPUTE_BYTES[precision]
    linear = spec.layers * sum(layer.weights for layer in spec.linears)
    head = spec.head.weights * _SERVED_BYTES["int8" if precision == "int4" else precision]
    norms = spec.layers * spec.norm_weights + spec.final_norm_weights
    return int(linear * _SERVED_BYTES[precision] + head + (spec.embedding_weights + norms) * size)


def kv_bytes(spec: ModelSpec, settings: PlanSettings) -> int:
    """Keys and values of all sequences in every layer, in whole blocks; int8 has a scale a token and head."""
    blocks = settings.sequences * -(-settings.context // BLOCK_TOKENS)
    heads = 2 * spec.layers * spec.kv_heads * blocks * BLOCK_TOKENS
    if settings.kv_precision == "int8":
        return heads * (spec.head_width + 4)
    return heads * spec.head_width * _COMPUTE_BYTES[resolved(settings)]


def resolved(settings: PlanSettings) -> Precision:
    """The precision that `auto` stands for."""
    if settings.precision != "auto":
        return settings.precision
    return {"qlora": "int4", "full": "f32"}.get(settings.task, "bf16")  # type: ignore[return-value]


def machine_bytes() -> int:
    """All memory of the machine; 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # a system that does not say
        return 0


def _serve(spec: ModelSpec, settings: PlanSettings) -> Estimate:
    precision = resolved(settings)
    weights = {"weights": served_weight_bytes(spec, precision), "runtime": _runtime_bytes(spec)}
    held = {**weights, "kv_cache": kv_bytes(spec, settings)}
    tokens = min(STEP_TOKENS, settings.context * settings.sequences)
    # the residual stream, q|k|v and gate|up are f32, what goes into a product is at most f32
    queries, keys = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
    activations = 4 * tokens * (2 * spec.hidden + 2 * queries + 2 * keys + 3 * spec.intermediate)
    logits = 3 * 4 * min(settings.sequences, tokens) * spec.vocabulary  # as they come, shaped, and sorted
    phases = (
        Phase("loading", {**weights, "matrix on its way": _loading_bytes(spec, precision)}),
        Phase("prefill", {**held, "activations": activations, "logits": logits}),
        Phase("decode", {**held, "logits": logits}),
    )
    return Estimate(count_params(spec), 0, phases)


def _loading_bytes(spec: ModelSpec, precision: Precision) -> int:
    """The largest matrix between its file and its packed form; a tied head's source is the embedding."""
    size = _COMPUTE_BYTES[precision]
    codes = 1 if precision in ("int8", "int4") else 0
    head = spec.head.weights * (codes + (0 if spec.tied else size))
    return max(head, *(layer.weights * (codes + size) for layer in spec.linears))


def _train(spec: ModelSpec, settings: PlanSettings) -> Estimate:
    precision = resolved(settings)
    size = _COMPUTE_BYTES[precision]
    total = count_params(spec)
    full = settings.task == "full"
    trained = total if full else count_lora(spec, settings.rank, settings.targets)
    held = {
        "weights": weight_bytes(spec, precision),
        "optimizer": 8 * trained,
        "runtime": _runtime_bytes(spec),
    }
    if not full:
        held["adapter"] = 4 * trained
    rows = settings.micro_batch or max(1, PASS_TOKENS // settings.max_length)
    tokens = rows * settings.max_length
    layer = layer_activation_bytes(spec, settings, size)
    kept = tokens * (
        spec.hidden * size * spec.layers + layer if settings.gradient_checkpointing else spec.layers * layer
    )
    chunk = min(tokens * spec.vocabulary, LOSS_CHUNK_LOGITS)
    loss = chunk * (4 + size) + tokens * spec.hidden * size * 2
    if full:
        loss += 4 * spec.vocabulary * spec.hidden  # the head's gradient is made with the loss
    gradients = 4 * trained
    phases = (
        Phase("end of the forward pass", {**held, "activations": kept, "loss": loss}),
        Phase("backward pass", {**held, "activations": kept, "gradients": gradients}),
        Phase("optimizer step", {**held, "gradients": gradients}),
    )
    return Estimate(total, trained, phases)


def layer_activation_bytes(spec: ModelSpec, settings: PlanSettings, size: int) -> int:
    """What one layer keeps of one token for the backward pass."""
    queries, keys = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
    norms = 2 * spec.hidden * (4 + 2 * size)  # the input in f32, the normed value, the scaled one
    attention = size * (2 * queries + 4 * keys + queries)  # before and after rotation, and the result
    if settings.max_length <= SHORT_ROWS:
        attention += size * spec.heads * settings.max_length  # the weights over all tokens of the row
    mlp = size * 4 * spec.intermediate  # gate, up, activation, their product
    adapters = 0
    if settings.task != "full":
        adapters = size * settings.rank * len(target_layers(spec, settings.targets)[0])
    return norms + attention + mlp + adapters


def _runtime_bytes(spec: ModelSpec) -> int:
    return RUNTIME_BYTES + TOKENIZER_BYTES * spec.vocabulary
