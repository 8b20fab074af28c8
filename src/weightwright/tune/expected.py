"""How long a run will take, said before its first step: the plan's estimate for the real rows, on this machine."""

from pathlib import Path

from weightwright.errors import ModelError
from weightwright.plan.duration import span, training_time
from weightwright.plan.rates import probed, shapes_of
from weightwright.plan.spec import from_file
from weightwright.plan.training import OF_SAMPLES
from weightwright.plan.work import layer_flops
from weightwright.tune.lengths import rows_of
from weightwright.tune.memory import plan_settings
from weightwright.tune.state import RunPlan

_PROBE_S = 1.0
_WORTH_FLOP = 1e14  # of layers' products: a run of fewer is over before anybody would read it


def expected_note(path: Path, plan: RunPlan, device: str) -> str:
    """`12 min for 100 steps …`; nothing for a short run, another device than a CPU, GRPO, or a family not known."""
    if device != "cpu" or plan.settings.objective in OF_SAMPLES:
        return ""
    try:
        spec = from_file(path)
    except ModelError:  # a family that cannot be planned for
        return ""
    rows, held_out = rows_of(plan.examples), rows_of(plan.eval_examples) if plan.eval_examples else None
    longest = max(map(max, rows.examples))
    settings = plan_settings(plan.settings, longest=longest).model_copy(
        update={"batch": plan.batch, "max_steps": plan.steps}
    )
    if layer_flops(spec) * rows.tokens * settings.epochs < _WORTH_FLOP:
        return ""
    rates = probed(shapes_of(spec, settings, rows), _PROBE_S)
    time = training_time(spec, settings, rates, rows, held_out, plan.eval_every)
    note = f"{span(time.seconds)} for {time.steps:,} steps ({time.tokens / time.training_s:,.0f} tokens/s) expected"
    return note + (" at most: other work runs here" if rates.disturbed else "")
