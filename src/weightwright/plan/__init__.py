"""plan."""

__all__ = [
    "advice",
    "duration",
    "fits",
    "layout",
    "measured",
    "phases",
    "price",
    "rates",
    "run",
    "serving_time",
    "settings",
    "spec",
    "timing",
    "training",
    "work",
]
