"""What a comparison will tune before it asks anything: steps, time and money, said before it starts."""

from weightwright.compare.adapter import tune_settings
from weightwright.compare.arms import arm
from weightwright.compare.settings import CompareSettings
from weightwright.errors import ModelError
from weightwright.plan.duration import span
from weightwright.plan.run import plan
from weightwright.tune.lengths import planned_rows
from weightwright.tune.memory import plan_settings


def expected_tuning(settings: CompareSettings, model_fingerprint: str) -> str:
    """`lora, lora+rag: an adapter is tuned first: 75 steps, about 3 min`; "" where nothing is left to tune.

    Raises DataError for rows that cannot be learnt from.
    """
    names = [name for name in settings.arms if arm(name).adapter]
    if not names or settings.tune.data is None or settings.remote:
        return ""
    asked = tune_settings(settings, model_fingerprint)
    if (asked.out / "result.json").is_file():
        return ""
    said = f"{', '.join(names)}: an adapter is tuned first"
    planned = plan_settings(asked, longest=asked.max_length).model_copy(
        update={"data": asked.data, "price": settings.price}
    )
    try:
        timing = plan(planned, *planned_rows(planned)).timing
    except ModelError:  # a family that cannot be planned for
        return said
    if timing is None or timing.duration is None:
        return said
    one, price = timing.duration, timing.price
    cost = f", {price.text(price.of(one.seconds))}" if price else ""
    busy = " at most: other work runs here" if timing.rates.disturbed else ""
    went_on = " (some of them done before)" if asked.out.is_dir() else ""
    return f"{said}: {one.steps:,} steps{went_on}, about {span(one.seconds)}{busy}{cost}"
