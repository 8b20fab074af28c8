"""Scores of answers against references, with intervals."""
