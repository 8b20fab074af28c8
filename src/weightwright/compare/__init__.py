"""Base, retrieval, adapter or both: asked the same questions, scored, costed and compared."""
