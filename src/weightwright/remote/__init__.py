"""Chat and Embedder over HTTP: any server that speaks OpenAI's API."""

__all__ = ["chat", "embed", "process"]
