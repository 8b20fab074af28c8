"""Intervals, tests and power for scores of the same questions, where questions may come in clusters."""
