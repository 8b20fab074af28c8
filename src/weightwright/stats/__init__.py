"""Intervals, tests and power for scores of the same questions, where questions may come in clusters."""

__all__ = ["clusters", "intervals", "permutation", "power"]
