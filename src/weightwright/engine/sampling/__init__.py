"""From logits to tokens: forms, penalties, draws."""

__all__ = ["constrain", "draw", "sample"]
