"""`weightwright tune watch`: a running tune, seen from another terminal."""

import time
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.tune.watch import State, WatchSettings, state

_LOOK_EVERY_S = 1.0
_QUIET_S = 300.0
_SAID = {
    "answer_tokens": "{:.1f} tokens an answer",
    "cut_answers": "{:.0%} of answers cut",
    "equal_groups": "{:.0%} of groups with equal rewards",
    "unjudged": "{:.0%} of answers not judged",
    "kl": "KL {:.4f} from the base model",
}


@verb(WatchSettings, section="tune_watch", positional=("folder",))
def watch(settings: WatchSettings) -> Outcome:
    """Watch a running tune from another terminal: progress, tokens a second, loss curves. Ctrl-C stops watching."""
    from rich.console import Console
    from rich.live import Live

    run = state(settings.folder, time.time())
    if not settings.once and not run.finished:
        with Live(view(run), console=Console(stderr=True), auto_refresh=False) as live:
            while not run.finished:
                time.sleep(_LOOK_EVERY_S)
                run = state(settings.folder, time.time())
                live.update(view(run), refresh=True)
    return Outcome(run.data(), view(run))


def view(run: State) -> Any:
    """The state in a few lines, with the curve once there are steps to draw."""
    from weightwright.plots import terminal_curve

    share = run.done / run.steps
    bar = "━" * round(40 * share) + " " * (40 - round(40 * share))
    lines = [f"{bar} {run.done}/{run.steps} steps, {run.tokens_per_s:,.0f} tokens/s"]
    if run.curve:
        held_out = f", held out {run.evals[-1][1]:.3f}" if run.evals else ""
        lines.append(f"{'reward' if run.rewards else 'loss'} {run.curve[-1]:.3f}{held_out}")
    if run.measures:
        lines.append(
            ", ".join(_SAID[name].format(values[-1]) for name, values in run.measures.items() if values[-1])
        )
    if len(run.curve) > 1:
        lines.append(terminal_curve(run.curve, run.evals))
    if run.finished:
        lines.append("finished")
    elif run.age_s > _QUIET_S:
        lines.append(
            f"nothing written for {run.age_s / 60:.0f} min: the same tune command goes on where it stopped"
        )
    return "\n".join(lines)
