"""The in-process engine: many requests at once over one set of weights."""
