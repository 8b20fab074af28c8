"""plan."""

__all__ = [
    "advice",
    "duration",
    "fits",
    "layout",
    "measured",
    "phases",
    "rates",
    "run",
    "serving_time",
    "settings",
    "spec",
    "timing",
    "training",
    "work",
]
