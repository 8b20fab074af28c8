"""The rates that a plan reckons with: this machine's, probed in the shapes of the model, or a known accelerator's."""

from dataclasses import replace

from weightwright.machine.accelerators import accelerator
from weightwright.machine.probe import PROBE_S, Shapes, probe
from weightwright.machine.rates import Rates
from weightwright.plan import measured
from weightwright.plan.layout import Rows, laid_out, steps_of
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec

PRODUCTS_SHARE = 0.5  # of the peak that a model's products reach
MEMORY_SHARE = 0.8  # of the memory's bandwidth
CALL_S = 8e-6  # to start a kernel on a card from Python


def shapes_of(spec: ModelSpec, settings: PlanSettings, rows: Rows | None = None) -> Shapes:
    """What a pass multiplies, for the probe."""
    matrices: dict[tuple[int, int], int] = {}
    for kind in spec.kinds:
        for one in kind.linears:
            matrices[one.inputs, one.outputs] = matrices.get((one.inputs, one.outputs), 0) + kind.count
    first = max(spec.kinds, key=lambda kind: kind.count * bool(kind.kv_heads))
    tokens, length = measured.STEP_TOKENS, settings.context // 2
    if rows is not None:
        batch = steps_of(settings, len(rows.examples))[1]
        layout = laid_out(settings, rows.examples[:batch])
        tokens, length = round(layout.computed / layout.passes), layout.row_tokens
    return Shapes(
        precision="bf16" if _half(settings) else "f32",
        rows=max(16, tokens),
        matrices=tuple((count, inputs, outputs) for (inputs, outputs), count in matrices.items()),
        hidden=spec.hidden,
        inner=max(kind.inner for kind in spec.kinds),
        vocabulary=spec.vocabulary,
        attention=(first.kv_heads, spec.heads, first.queries // spec.heads, max(16, min(length, 2048))),
        rank=settings.rank,
        trains=settings.task != "serve",
        trains_weights=settings.task == "full",
    )


def _half(settings: PlanSettings) -> bool:
    """Whether products are computed in bf16."""
    if settings.task == "full":
        return settings.precision == "bf16"
    return settings.precision != "f32"


def probed(shapes: Shapes, budget_s: float = PROBE_S) -> Rates:
    """What this machine's CPU reaches in the shapes of a model, measured for two seconds; of it training's share."""
    rates = probe(shapes, budget_s)
    if not shapes.trains:
        return rates
    shares = measured.TRAINING_SHARES
    return replace(rates, **{part: share * getattr(rates, part) for part, share in shares.items()})


def of_accelerator(name: str, settings: PlanSettings) -> Rates:
    """What a known accelerator is assumed to reach of its published peaks. Raises SettingsError for another."""
    one = accelerator(name)
    precision = "bf16" if _half(settings) else "f32"
    peak = 1e12 * one.tflops(precision)
    products, memory = PRODUCTS_SHARE * peak, MEMORY_SHARE * 1e9 * one.memory_gb_per_s
    return Rates(
        source=f"{one.name}: {PRODUCTS_SHARE:.0%} of {peak / 1e12:g} TFLOP/s, {MEMORY_SHARE:.0%} of "
        f"{one.memory_gb_per_s:,.0f} GB/s, assumed of its published peaks ({one.source})",
        forward=products,
        backward=products,
        head=products,
        # a thin product reads or writes a wide row for each of its `rank` numbers
        adapters=min(products, settings.rank * memory / 2),
        attention=products,  # half of the square is left out, at half the rate
        elements=memory,
        memory=memory,
        call_s=CALL_S,
    )
