"""Models whose repositories bring their own code, mapped onto layers that transformers has; none of the code runs."""

__all__ = ["families", "folder"]
