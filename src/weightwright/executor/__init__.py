"""A model's layers as the engine runs them; only the engine and its embedder use it."""

__all__ = ["encoder", "execute", "fits", "fuse", "linear", "lora", "own", "precision", "trial"]
