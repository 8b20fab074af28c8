"""The in-process engine: many requests at once over one set of weights."""

__all__ = ["engine", "open", "outputs", "sampler", "settings", "vllm"]
