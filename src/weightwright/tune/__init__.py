"""tune."""

__all__ = [
    "attention",
    "batch",
    "distributed",
    "llamafactory",
    "loss",
    "objectives",
    "preview",
    "run",
    "settings",
    "trials",
    "watch",
]
