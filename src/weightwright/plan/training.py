"""Memory of training, as our own loop holds it: parts of each phase; the phases come one after the other.

The loss is made in bounded chunks, LoRA layers compute in the base's precision with f32 master weights, gradients are
f32 and stay over the passes of a step, and the log-probabilities that DPO and KTO compare with are made before the
first step, so that there is never a second model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from weightwright.options import Precision
from weightwright.plan import measured
from weightwright.plan.activations import kept_bytes, kept_recomputing
from weightwright.plan.params import count_lora, count_params, head_weights
from weightwright.plan.phases import Phase
from weightwright.plan.serving import kv_bytes, runtime_bytes, step_bytes
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec

WITH_REFERENCE = ("dpo", "kto")
OF_PAIRS = ("dpo", "orpo", "simpo")
OF_SAMPLES = ("grpo",)


@dataclass(frozen=True, slots=True)
class _Run:
    """What all phases of a run share."""

    spec: ModelSpec
    settings: PlanSettings
    trained: int
    size: int  # bytes a number that is computed with

    @property
    def full(self) -> bool:
        return self.settings.task == "full"

    @property
    def tokens(self) -> int:
        return pass_tokens(self.settings)

    def chunk_bytes(self, *, gradient: bool) -> int:
        """Logits held at once; on a CPU their gradient takes their place."""
        each = self.size if self.settings.on_cpu or not gradient else 2 * self.size + 4
        return min(self.tokens * self.spec.vocabulary * each, measured.LOSS_CHUNK_BYTES)

    @property
    def accumulates(self) -> bool:
        """Whether a step has several passes, so that a pass finds the gradients of those before it."""
        batch, rows = self.settings.batch, self.settings.micro_batch
        if self.settings.objective in OF_SAMPLES and rows is None:
            return sampled_rows(self.settings) * self.settings.max_length > self.tokens
        return batch is None or rows is None or batch > max(1, rows // _together(self.settings))


def training_phases(spec: ModelSpec, settings: PlanSettings) -> tuple[Phase, ...]:
    """Loading, the reference, forward and backward pass, optimizer step, evaluation."""
    run = _Run(spec, settings, trained_params(spec, settings), _compute_bytes(settings))
    base = {
        "weights": weight_bytes(spec, settings.resolved_precision, double=settings.double_quantisation),
        "runtime": runtime_bytes(spec, settings),
    }
    ready = base if run.full else {**base, "adapter": 4 * run.trained}
    if settings.objective in OF_SAMPLES:  # the sampler's, beside the weights that it shares
        ready |= {"kv_cache": kv_bytes(spec, _sampled(settings)), "sampler": _sampler_bytes(run)}
    if settings.int8_forward:  # from the first pass on
        ready |= {"weights in 8 bits": spec.linear_weights}
    held = {**ready, "optimizer": optimizer_bytes(settings, run.trained)}
    phases = [Phase("loading", {**base, "matrix on its way": _loading_bytes(run)})]
    if settings.objective in WITH_REFERENCE:
        phases.append(Phase("reference", {**ready, **_looking(run)}))
    if settings.objective in OF_SAMPLES:
        phases.append(Phase("sampling", {**held, **step_bytes(spec, _sampled(settings))}))
    phases += [*_pass(run, held), Phase("optimizer step", {**held, "gradients": 4 * run.trained})]
    return (*phases, Phase("evaluation", {**held, **_looking(run)}))


def _sampled(settings: PlanSettings) -> PlanSettings:
    """Sampling as serving: the sequences at once, each up to the longest row, kept in what is computed with."""
    sequences = min(sampled_rows(settings), measured.SAMPLED_AT_ONCE)
    return settings.model_copy(
        update={"sequences": sequences, "context": settings.max_length, "kv_precision": "auto"}
    )


def _sampler_bytes(run: _Run) -> int:
    """The adapter as the sampler holds it, in what is computed with; on a CPU its code and oneDNN's programs, too."""
    placed = run.size * run.trained
    if not run.settings.on_cpu:
        return placed
    more_passes = max(0.0, sampled_rows(run.settings) * run.settings.max_length / run.tokens - 1)
    widths = min(more_passes, measured.MOST_WIDTHS)
    return placed + measured.SAMPLER_RUNTIME_BYTES + int(measured.WIDTH_BYTES * widths)


def trained_params(spec: ModelSpec, settings: PlanSettings) -> int:
    """Weights that a gradient is made for."""
    if settings.task == "full":
        return count_params(spec)
    return count_lora(spec, settings.rank, settings.targets, dora=settings.dora)


def pass_tokens(settings: PlanSettings) -> int:
    """Tokens of one pass: `micro_batch` rows, else what fills it; a pair is never divided."""
    together = _together(settings)
    if settings.micro_batch is not None:
        return max(1, settings.micro_batch // together) * together * settings.max_length
    usual = measured.PASS_TOKENS["cpu" if settings.on_cpu else "gpu"]
    if settings.objective in OF_SAMPLES:
        usual = min(usual, sampled_rows(settings) * settings.max_length)
    return max(usual, together * settings.max_length)


def sampled_rows(settings: PlanSettings) -> int:
    """Answers that a step of `OF_SAMPLES` learns from."""
    return (settings.batch or measured.PROMPTS_A_STEP) * settings.group_size


def _together(settings: PlanSettings) -> int:
    """Rows that are never divided."""
    return 2 if settings.objective in OF_PAIRS else 1


def weight_bytes(spec: ModelSpec, precision: Precision, *, double: bool = True) -> int:
    """The base model's weights: linear layers in `precision`, all else in what it computes in; int4 is NF4."""
    nf4 = measured.NF4_DOUBLE_BYTES if double else measured.NF4_BYTES
    each = {"f32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": nf4}[precision]
    rest = count_params(spec) - spec.linear_weights
    return int(spec.linear_weights * each + rest * measured.COMPUTE_BYTES[precision])


def optimizer_bytes(settings: PlanSettings, trained: int) -> int:
    """What the optimizer keeps of the trained weights."""
    if settings.optimizer == "sgd":
        return int(trained * (measured.MOMENTUM_BYTES if settings.momentum else 0))
    each = measured.ADAMW8BIT_BYTES if settings.optimizer == "adamw8bit" else measured.ADAMW_BYTES
    return int(trained * each)


def _compute_bytes(settings: PlanSettings) -> int:
    """Bytes of an activation; full tuning keeps f32 weights and may compute in bf16 beside them."""
    if settings.task == "full":
        return 2 if settings.precision == "bf16" else 4
    return measured.COMPUTE_BYTES[settings.resolved_precision]


def _loading_bytes(run: _Run) -> int:
    """The largest matrix as it comes from its file, while its place in the model is there already."""
    spec = run.spec
    stacked = max((one.experts.total_weights for one in spec.kinds if one.experts), default=0)
    return max(spec.head.weights, spec.largest_linear, stacked) * (4 if run.full else run.size)


def _pass(run: _Run, held: Mapping[str, int]) -> tuple[Phase, Phase]:
    """The end of the forward pass with its loss, and the backward pass."""
    spec, settings, gradients = run.spec, run.settings, 4 * run.trained
    layers = [run.tokens * kept_bytes(spec, settings, one, run.size) for one in spec.kinds]
    kept, again = sum(one.count * size for one, size in zip(spec.kinds, layers, strict=True)), 0
    if settings.recomputes:
        each = [kept_recomputing(spec, settings, one, run.size) for one in spec.kinds]
        kept = run.tokens * sum(one.count * size for one, (size, _) in zip(spec.kinds, each, strict=True))
        again = run.tokens * max(size for _, size in each)
    if run.full and run.size != 4:
        kept += run.size * spec.linear_weights  # autocast's copies of the weights
    early = {"gradients": gradients} if run.accumulates else {}
    parts = {"activations": kept + again, "gradients": gradients}
    if run.full and spec.tied:
        parts["gradients"] += 4 * spec.head.weights  # the embedding's, before both are added
    if not run.accumulates:  # activations go as gradients come
        first = 4 * (head_weights(spec) or spec.head.weights) if run.full else 0
        late = parts["gradients"] > kept + first
        parts |= {"activations": again} if late else {"gradients": first}
    forward = {"activations": kept, "loss": _loss_bytes(run)}
    backward = {"working": _working_bytes(run)}
    return (
        Phase("forward pass", _with_holes(run, {**held, **forward, **early})),
        Phase("backward pass", _with_holes(run, {**held, **parts, **backward})),
    )


def _with_holes(run: _Run, parts: dict[str, int]) -> dict[str, int]:
    """`parts`, and on a CPU the memory lost to fragmentation of the allocator's heap.

    Where activations are recomputed, each layer leaves a hole of the MLP's width, behind which little is kept.
    """
    if not run.settings.on_cpu:
        return parts
    moving = sum(parts.get(part, 0) for part in ("activations", "loss", "working"))
    heap = int((measured.HOLES_OF_MORE_PASSES if run.accumulates else measured.HOLES) * moving)
    if run.settings.recomputes:
        heap += run.tokens * run.size * sum(one.count * one.inner for one in run.spec.kinds)
    return {**parts, "heap": heap}


def _working_bytes(run: _Run) -> int:
    """Temporary memory in the backward pass of a layer."""
    spec, settings = run.spec, run.settings
    widest = max(measured.WORKING_INNER * one.inner for one in spec.kinds)
    working = run.tokens * run.size * (widest + measured.WORKING_HIDDEN * spec.hidden)
    if settings.task == "qlora":
        working += spec.largest_linear * run.size  # one matrix out of its 4 bits
    return working


def _loss_bytes(run: _Run) -> int:
    """A chunk of logits, and what becomes of the hidden states with a label."""
    total = run.chunk_bytes(gradient=True)
    total += measured.KEPT_LABELLED * run.tokens * run.spec.hidden * run.size
    if run.full:  # the head's gradient is made with the loss
        total += 4 * run.spec.head.weights
        if run.size != 4:  # its copy, and a chunk's gradient before it is added
            total += 2 * run.size * run.spec.head.weights
    return total


def _looking(run: _Run) -> dict[str, int]:
    """A pass without gradients: one layer at a time, and a chunk of logits."""
    spec = run.spec
    layer = max(kept_bytes(spec, run.settings, one, run.size) for one in spec.kinds)
    loss = run.chunk_bytes(gradient=False) + run.tokens * spec.hidden * run.size
    return {"activations": run.tokens * (layer + spec.hidden * run.size), "loss": loss}
