"""The picture of a run's steps: its losses, or the rewards of the answers that it samples."""

from pathlib import Path

from weightwright.files import write_whole
from weightwright.tune.log import measures_of, read_lines
from weightwright.tune.state import Notes

_PANELS = {"answer_tokens": "tokens an answer", "kl": "KL from the base"}  # beneath the rewards


def draw(notes: Notes, folder: Path) -> None:
    """Write loss.png: the curve of the steps so far, nothing where there is none yet."""
    if not notes.losses:
        return
    from weightwright.plots import loss_curve, reward_curves

    if notes.rewards:
        measures = measures_of(read_lines(folder))
        panels = {words: measures[name] for name, words in _PANELS.items() if name in measures}
        picture = reward_curves(notes.rewards, notes.evals, panels)
    else:
        picture = loss_curve(notes.losses, notes.evals)
    write_whole(folder / "loss.png", picture)
