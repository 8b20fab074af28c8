"""The HTTP server: OpenAI's API over models, adapters and knowledge bases."""

__all__ = ["run", "settings"]
