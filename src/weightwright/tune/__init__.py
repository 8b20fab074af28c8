"""tune."""

__all__ = [
    "attention",
    "batch",
    "distributed",
    "fastchat",
    "llamafactory",
    "llamafactory_asking",
    "loss",
    "objectives",
    "preview",
    "recipes",
    "run",
    "settings",
    "trials",
    "watch",
]
