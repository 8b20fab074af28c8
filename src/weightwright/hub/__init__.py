"""Models from a hub into the local store, and what stands there."""

__all__ = [
    "converted",
    "gguf_reader",
    "mapping",
    "models",
    "pickled",
    "pull",
    "quantized",
    "store",
    "weight_files",
]

__all__ = [
    "converted", "gguf_reader", "mapping", "models", "pickled", "pull", "quantized", "store", "weight_files",
]  # fmt: skip
