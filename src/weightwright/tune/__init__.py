"""tune."""

__all__ = [
    "attention",
    "batch",
    "distributed",
    "fastchat",
    "held_out",
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
