"""tune."""

__all__ = [
    "attention",
    "batch",
    "distributed",
    "llamafactory",
    "loss",
    "objectives",
    "preview",
    "recipes",
    "run",
    "settings",
    "trials",
    "watch",
]
