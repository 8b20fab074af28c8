"""Weights on disk and in memory: safetensors, GGUF, quantised checkpoints, adapters; loading and describing them."""

__all__ = [
    "adapter",
    "adapter_config",
    "advised",
    "describe",
    "empty",
    "ends",
    "experts",
    "families",
    "gguf_cuts",
    "gguf_folder",
    "gguf_header",
    "gguf_rope",
    "gguf_tokenizer",
    "load",
    "origin",
    "quantize",
    "quiet",
    "rope",
    "source",
    "templates",
]
