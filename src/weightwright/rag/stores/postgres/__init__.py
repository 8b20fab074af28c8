"""The store in PostgreSQL with pgvector."""

__all__ = ["store"]
