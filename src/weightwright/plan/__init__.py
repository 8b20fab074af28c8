"""plan."""

__all__ = ["advice", "fits", "measured", "phases", "run", "settings", "spec"]
