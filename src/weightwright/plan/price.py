"""What an hour of a machine costs, as a user writes it, in any currency."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_PRICE = re.compile(
    r"(?P<before>[^\d\s.,+-]*)\s*(?P<number>[\d.,]+)\s*(?P<after>[^\d\s.,/+-]*)\s*(/\s*(h|hour))?"
)


@dataclass(frozen=True, slots=True)
class Price:
    """An amount an hour; `currency` is what the user wrote beside it, perhaps nothing."""

    per_hour: float
    currency: str = ""

    def of(self, seconds: float) -> float:
        """What so many seconds cost."""
        return self.per_hour * seconds / 3600

    def text(self, amount: float) -> str:
        """An amount with its currency, with as many digits as say something."""
        digits = 2 if amount >= 1 or not amount else 1 - math.floor(math.log10(amount))
        return f"{amount:,.{digits}f} {self.currency}".rstrip()


def parse_price(text: str) -> Price:
    """`2.49`, `2.49 EUR`, `$2.49`, `0.80 USD/h`. Raises ValueError for anything else, also for less than nothing."""
    match = _PRICE.fullmatch(text.strip())
    if match is None or (match["before"] and match["after"]):
        raise ValueError("expected what an hour costs, 0 or more, such as 2.49 or '2.49 EUR'")
    try:
        amount = float(match["number"])
    except ValueError as error:
        raise ValueError(f"{match['number']} is no number; write 1234.50") from error
    return Price(amount, match["before"] or match["after"])


def _checked(given: object) -> object:
    """The price as text, where it is one (YAML reads a bare number as one)."""
    text = str(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else ""
    parse_price(text)
    return text


PriceText = Annotated[str, BeforeValidator(_checked)]
PRICE: Any = Field(None, description="what an hour of the machine costs, in any currency: 2.49 or '2.49 EUR'")
