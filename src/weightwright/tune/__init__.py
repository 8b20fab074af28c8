"""tune."""

__all__ = [
    "attention",
    "batch",
    "distributed",
    "fastchat",
    "held_out",
    "lengths",
    "llamafactory",
    "llamafactory_asking",
    "loss",
    "memory",
    "objectives",
    "preview",
    "recipes",
    "result",
    "rewards",
    "rollout",
    "run",
    "settings",
    "trials",
    "watch",
]
