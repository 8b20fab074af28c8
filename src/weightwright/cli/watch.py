"""`weightwright tune watch`: a running tune, seen from another terminal."""

import time
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.tune.watch import State, WatchSettings, state

_LOOK_EVERY_S = 1.0
_QUIET_S = 300.0


@verb(WatchSettings, section="tune_watch", positional=("folder",))
def watch(settings: WatchSettings) -> Outcome:
    """Watch a running tune from another terminal: progress, tokens a second, loss curves. Ctrl-C stops watching."""
    from rich.console import Console
    from rich.live import Live

    found = state(settings.folder, time.time())
    if not settings.once and not found.finished:
        with Live(view(found), console=Console(stderr=True), auto_refresh=False) as live:
            while not found.finished:
                time.sleep(_LOOK_EVERY_S)
                found = state(settings.folder, time.time())
                live.update(view(found), refresh=True)
    return Outcome(found.data(), view(found))


def view(found: State) -> Any:
    """The state in a few lines, with the curve once there are steps to draw."""
    from weightwright.plots import terminal_curve

    share = found.done / found.steps
    bar = "━" * round(40 * share) + " " * (40 - round(40 * share))
    lines = [f"{bar} {found.done}/{found.steps} steps, {found.tokens_per_s:,.0f} tokens/s"]
    if found.losses:
        held_out = f", held out {found.evals[-1][1]:.3f}" if found.evals else ""
        lines.append(f"loss {found.losses[-1]:.3f}{held_out}")
    if len(found.losses) > 1:
        lines.append(terminal_curve(found.losses, found.evals))
    if found.finished:
        lines.append("finished")
    elif found.age_s > _QUIET_S:
        lines.append(
            f"nothing written for {found.age_s / 60:.0f} min: the same tune command goes on where it stopped"
        )
    return "\n".join(lines)
