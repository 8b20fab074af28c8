"""`weightwright tune`: train an adapter, or every weight, on your rows."""

from typing import TYPE_CHECKING

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.tune.settings import TuneSettings

if TYPE_CHECKING:
    from weightwright.tune.run import TuneResult


@verb(TuneSettings, section="tune")
def tune(settings: TuneSettings) -> Outcome:
    """Train an adapter, or every weight, on your rows.

    The same command goes on where an interrupted run stopped.
    """
    from weightwright.tune import run

    with bar("tune") as progress:
        result = run.tune(settings, progress=progress)
    return Outcome(result.to_json(), _view(result, settings))


def _view(result: "TuneResult", settings: TuneSettings) -> str:
    lines = [
        f"{result.steps} steps, loss {result.train_loss:.3f} per labelled token"
        + (f", held out {result.eval_loss:.3f}" if result.eval_loss is not None else ""),
        f"{result.tokens_per_s:,.0f} tokens/s, peak {result.peak_bytes / 1e9:.1f} GB",
        f"loss curve: {settings.out / 'loss.png'}",
        f"{'adapter' if result.adapter else 'model'}: {result.adapter or result.model}",
    ]
    if result.finished_before:
        lines.insert(0, "this run had already finished; to train again choose another --out")
    if result.adapter:
        lines.append(f"try it: weightwright chat {settings.model}+{_as_path(str(result.adapter))}")
    return "\n".join([*lines, *result.diagnosis, *result.notes])


def _as_path(text: str) -> str:
    return text if text.startswith(("/", "./", "../", "~")) else f"./{text}"
