"""Base, retrieval, adapter or both: asked the same questions, scored, costed and compared."""

__all__ = ["report", "run", "settings"]
