"""From logits to tokens: forms, penalties, draws."""
