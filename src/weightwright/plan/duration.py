"""How long a training run takes: its work by parts, each over the rate that the machine reaches in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from weightwright.machine.rates import Rates
from weightwright.plan import measured, work
from weightwright.plan.layout import Layout, Rows, laid_out, steps_of, trained
from weightwright.plan.params import count_params, targeted
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec
from weightwright.plan.steps import made_again
from weightwright.plan.training import WITH_REFERENCE, trained_params, weight_bytes


@dataclass(frozen=True, slots=True)
class Duration:
    """A run's seconds by part, its steps, and the real tokens that it learns from (padding not counted)."""

    steps: int
    tokens: int
    parts: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def training_s(self) -> float:
        """The steps alone: what `tune` says its tokens a second of."""
        return sum(seconds for part, seconds in self.parts.items() if part not in _BESIDE)


_BESIDE = ("loading", "reference", "evaluation")


def training_time(
    spec: ModelSpec,
    settings: PlanSettings,
    rates: Rates,
    rows: Rows,
    held_out: Rows | None = None,
    eval_every: int | None = None,
) -> Duration:
    """A run over `rows`, with evaluations on `held_out` before it and each quarter, or every so many steps.

    `gradient_checkpointing` must be decided (see `fits.decide`).
    """
    steps, _ = steps_of(settings, len(rows.examples))
    layout = trained(settings, rows)
    labelled = rows.labelled / rows.tokens
    parts = {
        "loading": weight_bytes(spec, "f32" if settings.task == "full" else "bf16")
        / measured.LOADING_BYTES_PER_S,
        **_steps(spec, settings, rates, layout, labelled),
        "optimizer": steps * _optimizer_s(spec, settings, rates),
    }
    if settings.objective in WITH_REFERENCE:
        once = [rows] if held_out is None else [rows, held_out]
        parts["reference"] = sum(_forward_s(spec, settings, rates, one) for one in once)
    if settings.objective == "kto":  # each answer beside another question, without a gradient
        parts["partners"] = settings.epochs * _forward_s(spec, settings, rates, rows)
    if held_out is not None:
        every = eval_every or max(1, -(-steps // 4))
        parts["evaluation"] = (1 + -(-steps // every)) * _forward_s(spec, settings, rates, held_out)
    return Duration(steps, round(layout.tokens), parts)


def _steps(
    spec: ModelSpec, settings: PlanSettings, rates: Rates, layout: Layout, labelled: float
) -> dict[str, float]:
    """Forward and backward passes of all steps, without the optimizer."""
    full, recomputes = settings.task == "full", settings.recomputes
    tokens, flops = layout.computed, work.layer_flops(spec)
    forwards = 1 + (made_again(spec, settings) if recomputes else 0.0)
    parts = {
        "forward products": tokens * flops / _forward_rate(settings, rates),
        "backward products": tokens * flops * (2 if full else 1) / rates.backward,
    }
    if recomputes:
        parts["recomputing"] = (forwards - 1) * parts["forward products"]
    if not full:
        parts["adapter"] = tokens * (forwards + 2) * work.adapter_flops(spec, settings) / rates.adapters
    squares = (2 if forwards == 2 else 1) * work.ATTENTION_FORWARD + work.ATTENTION_BACKWARD
    parts["attention"] = layout.squares * squares * work.attention_flops(spec) / rates.attention
    parts["head"] = _head_s(spec, settings, rates, layout.tokens * labelled, gradient=True)
    parts["other layers"] = _other_s(spec, settings, rates, layout, forwards, work.ELEMENTS_BACKWARD)
    if settings.task == "qlora":
        unpacked = layout.passes * (1 + (0 if settings.int8_forward else forwards)) * spec.linear_weights
        parts["unpacking"] = unpacked * measured.UNPACKED_BYTES / rates.elements
    return parts


def _forward_rate(settings: PlanSettings, rates: Rates) -> float:
    """FLOP/s of the layers' products on the way forward."""
    return rates.forward * (measured.INT8_FORWARD_GAIN if settings.int8_forward else 1.0)


def _head_s(
    spec: ModelSpec, settings: PlanSettings, rates: Rates, labelled: float, *, gradient: bool
) -> float:
    """The head over labelled tokens, and its softmax; a head of log-probabilities is computed again."""
    products = 1.0
    if gradient:
        again = 1 if settings.objective not in ("sft", "pretrain") else 0
        products += again + (2 if settings.task == "full" else 1)
    softmax = work.ELEMENTS_VOCABULARY * spec.vocabulary * _size(settings) / rates.elements
    return labelled * (products * work.head_flops(spec) / rates.head + softmax)


def _other_s(
    spec: ModelSpec, settings: PlanSettings, rates: Rates, layout: Layout, forwards: float, backward: float
) -> float:
    """Norms, rotations, activations, copies; and starting every operation."""
    size_bytes = layout.computed * work.element_numbers(spec) * _size(settings)
    calls = layout.passes * (forwards * work.CALLS_FORWARD + (work.CALLS_BACKWARD if backward else 0))
    calls += layout.rows * (forwards + (1 if backward else 0)) * work.CALLS_ROW
    return size_bytes * (forwards + backward) / rates.elements + spec.layers * calls * rates.call_s


def _forward_s(spec: ModelSpec, settings: PlanSettings, rates: Rates, rows: Rows) -> float:
    """One pass over rows without a gradient."""
    layout = laid_out(settings, rows.examples, rows.common)
    products = layout.computed * work.layer_flops(spec) / _forward_rate(settings, rates)
    if settings.task != "full":
        products += layout.computed * work.adapter_flops(spec, settings) / rates.adapters
    attention = layout.squares * work.ATTENTION_FORWARD * work.attention_flops(spec) / rates.attention
    head = _head_s(spec, settings, rates, rows.labelled, gradient=False)
    unpacked = (
        layout.passes * spec.linear_weights * measured.UNPACKED_BYTES
        if settings.task == "qlora" and not settings.int8_forward
        else 0
    )
    return (
        products
        + attention
        + head
        + _other_s(spec, settings, rates, layout, 1, 0.0)
        + unpacked / rates.elements
    )


def _optimizer_s(spec: ModelSpec, settings: PlanSettings, rates: Rates) -> float:
    """A step's update and clipping: weights, gradients and states, f32, read and written."""
    states = {"adamw": 2, "adamw8bit": 1, "sgd": 1}[settings.optimizer]
    weights = trained_params(spec, settings)
    moved_bytes = 4.0 * weights * (measured.OPTIMIZER_PASSES + 2 * states)
    if settings.task == "full":
        tensors = sum(2.0 * one.count * len(one.linears) for one in spec.kinds)
    else:
        tensors = sum(2.0 * count for count, _ in targeted(spec, settings.targets))
    seconds = moved_bytes / rates.memory + measured.OPTIMIZER_CALLS * tensors * rates.call_s
    if settings.task == "full" and settings.precision == "bf16":  # copies of the weights in each pass
        seconds += 6.0 * count_params(spec) / rates.memory
    return seconds


def _size(settings: PlanSettings) -> int:
    """Bytes of a number that passes through."""
    full_f32 = settings.task == "full" and settings.precision != "bf16"
    return 4 if full_f32 or settings.precision == "f32" else 2


def span(seconds: float) -> str:
    """A time in the unit that people would say it in."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:,.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
