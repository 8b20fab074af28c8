"""How long a task takes and what it costs: what is reckoned with, the outcome, and how it reads as JSON."""

from dataclasses import dataclass
from typing import Any

from weightwright.machine.rates import Rates
from weightwright.plan.duration import Duration, training_time
from weightwright.plan.layout import Rows, full_rows
from weightwright.plan.price import Price, parse_price
from weightwright.plan.rates import of_accelerator, probed, shapes_of
from weightwright.plan.serving_time import ServingSpeed, serving_speed
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec
from weightwright.plan.training import OF_SAMPLES

_UNKNOWN_ROWS = 128  # stand for a run of which nobody said how many rows it has


@dataclass(frozen=True, slots=True)
class Timing:
    """Of training the `duration`, of serving the `speed`; `whole` where the rows of the run are known."""

    rates: Rates
    price: Price | None = None
    duration: Duration | None = None
    speed: ServingSpeed | None = None
    whole: bool = True

    @property
    def tokens_per_s(self) -> float:
        """Real tokens learnt, or new tokens of all sequences, a second."""
        if self.duration is not None:
            return self.duration.tokens / self.duration.training_s
        return self.speed.decode_tokens_per_s if self.speed else 0.0

    def million_tokens(self, tokens_per_s: float) -> float | None:
        """What a million tokens cost at that rate."""
        return None if self.price is None else self.price.of(1e6 / tokens_per_s)

    def data(self) -> dict[str, Any]:
        """As JSON, with units in the names."""
        data: dict[str, Any] = {"tokens_per_s": self.tokens_per_s, "rates": self.rates.to_json()}
        if self.duration is not None and self.whole:
            one = self.duration
            data |= {"steps": one.steps, "tokens": one.tokens, "seconds": one.seconds}
            data |= {"hours": one.seconds / 3600, "parts_s": dict(one.parts)}
        if self.speed is not None:
            one_speed = self.speed
            data |= {
                "sequences": one_speed.sequences,
                "sequence_tokens_per_s": one_speed.sequence_tokens_per_s,
                "prefill_tokens_per_s": one_speed.prefill_tokens_per_s,
                "prompt_tokens": one_speed.prompt_tokens,
                "first_token_s": one_speed.first_token_s,
            }
        if self.price is not None:
            cost: dict[str, Any] = {"per_hour": self.price.per_hour, "currency": self.price.currency}
            cost["per_million_tokens"] = self.million_tokens(self.tokens_per_s)
            if self.speed is not None:
                cost["per_million_prompt_tokens"] = self.million_tokens(self.speed.prefill_tokens_per_s)
            elif self.whole and self.duration is not None:
                cost["total"] = self.price.of(self.duration.seconds)
            data["cost"] = cost
        return data


def timing(
    spec: ModelSpec, settings: PlanSettings, rows: Rows | None = None, held_out: Rows | None = None
) -> Timing | None:
    """The time of a task; None where nothing is known of the machine (see `rates_of`), and for GRPO.

    Without `rows` each is taken to be as long as `max_length` allows.
    """
    if settings.objective in OF_SAMPLES:  # the answers that it samples may have any length
        return None
    serving = settings.task == "serve"
    whole = serving or rows is not None or settings.rows is not None
    if rows is None and not serving:
        rows = full_rows(settings if whole else settings.model_copy(update={"rows": _UNKNOWN_ROWS}))
    rates = rates_of(spec, settings, rows)
    if rates is None:
        return None
    price = parse_price(settings.price) if settings.price else None
    if rows is None:
        return Timing(rates, price, speed=serving_speed(spec, settings, rates))
    return Timing(rates, price, training_time(spec, settings, rates, rows, held_out), whole=whole)


def rates_of(spec: ModelSpec, settings: PlanSettings, rows: Rows | None) -> Rates | None:
    """A known accelerator's, where one is named; this machine's, where it is what is planned for."""
    if settings.accelerator is not None:
        return of_accelerator(settings.accelerator, settings)
    if settings.measurable:
        return probed(shapes_of(spec, settings, rows))
    return None
