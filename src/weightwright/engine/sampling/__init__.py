"""From logits to tokens: forms, penalties, draws."""

__all__ = ["choice", "constrain", "draw", "sample"]
