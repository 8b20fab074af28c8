"""Models from a hub into the local store, and what stands there."""

__all__ = ["gguf_reader", "models", "pickled", "pull", "quantized", "store", "weight_files"]
