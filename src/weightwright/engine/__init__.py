"""The in-process engine: many requests at once over one set of weights."""

__all__ = ["llm", "open", "outputs", "sampler", "settings"]
