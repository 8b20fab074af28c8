"""Models from a hub into the local store, and what stands there."""

__all__ = ["models", "pull", "quantized", "store", "weight_files"]
