"""The routes: one file a protocol."""

__all__ = ["openai"]
