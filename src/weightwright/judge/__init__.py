"""Scores of answers against references, with intervals."""

__all__ = ["copies", "inputs", "metrics", "rewards", "settings", "summary"]
