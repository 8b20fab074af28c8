"""GGUF files that llama.cpp, Ollama and this engine read."""

__all__ = ["adapter", "vocabulary", "write"]
