"""The store in Redis with its query engine (Redis 8, Redis Stack)."""

__all__ = ["store"]
