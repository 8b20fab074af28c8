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
    "rewards",
    "rollout",
    "run",
    "settings",
    "trials",
    "watch",
]
