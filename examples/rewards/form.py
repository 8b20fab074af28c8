"""A reward for answers in one form: `<answer>…</answer>`, and nothing else."""

import re

WHOLE = re.compile(r"<answer>[^<>]+</answer>")


def form(completion: str) -> float:
    """1 for the whole form; before that a little for each part of it, so that there is something to learn from."""
    text = completion.strip()
    if WHOLE.fullmatch(text):
        return 1.0
    opened, closed = text.startswith("<answer>"), text.endswith("</answer>")
    tags = min(1, text.count("<answer>")) + min(1, text.count("</answer>"))
    return 0.1 * tags + 0.2 * opened + 0.2 * closed


def whole(completion: str) -> float:
    """1 for the whole form, else 0: what is measured on prompts held out."""
    return float(WHOLE.fullmatch(completion.strip()) is not None)
