"""The embedded store: one SQLite file."""

__all__ = ["file", "store"]
