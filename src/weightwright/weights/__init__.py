"""Weights on disk and in memory: safetensors, GGUF, quantised checkpoints, adapters; loading and describing them."""

__all__ = [
    "adapter",
    "adapter_config",
    "advised",
    "describe",
    "empty",
    "ends",
    "families",
    "gguf_header",
    "load",
    "origin",
    "quantize",
    "quiet",
    "rope",
    "source",
    "templates",
]
