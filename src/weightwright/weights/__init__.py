"""Weights on disk and in memory: safetensors, GGUF, quantised checkpoints, adapters; loading and describing them."""
