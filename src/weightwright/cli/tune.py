"""`weightwright tune`: train an adapter, or every weight, on your rows."""

import logging
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.tune.settings import TuneSettings

if TYPE_CHECKING:
    from weightwright.tune.preview import Preview
    from weightwright.tune.run import TuneResult

_logger = logging.getLogger(__name__)


def _llamafactory(file: Path) -> dict[str, Any]:
    """The settings in LLaMA-Factory's file; what differs or is unknown is said."""
    from weightwright.tune.llamafactory import read_llamafactory

    values, notes, unknown = read_llamafactory(file)
    for line in (*notes, *unknown):
        _logger.warning("%s: %s", file, line)
    return values


_READERS = {"llamafactory": (_llamafactory, "read settings from LLaMA-Factory's YAML or JSON file")}


@verb(TuneSettings, section="tune", positional=("model",), readers=_READERS)
def tune(settings: TuneSettings) -> Outcome | None:
    """Train an adapter, or every weight, on your rows.

    The same command goes on where an interrupted run stopped. `weightwright tune watch DIR` follows a run from
    another terminal.
    """
    from weightwright.tune import run
    from weightwright.tune.distributed import is_first

    if not is_first():  # one of several processes: the first one shows and answers
        run.tune(settings)
        return None
    with bar("tune") as progress:
        result = run.tune(settings, progress=progress)
    shown = [] if result.finished_before else _before_and_after(result, settings)
    data = {**result.to_json(), "shown": [_row(one) for one in shown]}
    return Outcome(data, _view(result, settings, shown))


def _before_and_after(result: "TuneResult", settings: TuneSettings) -> "list[Preview]":
    """What the model says to a few held-out rows, without and with what was learnt."""
    if not settings.show or settings.eval_data is None or settings.objective == "pretrain":
        return []
    from weightwright.connect import open_chat
    from weightwright.tune import dataset, preview

    read = dataset.read(settings, settings.eval_data)[: settings.show]
    samples = [getattr(row, "chosen", getattr(row, "sample", row)) for row in read]
    adapters = {"tuned": result.adapter} if result.adapter else None
    with closing(open_chat(settings.model, adapters=adapters)) as chat:
        before = preview.answers(chat, samples)
        after = preview.answers(chat, samples, adapter="tuned") if adapters else []
    if result.model is not None:
        with closing(open_chat(_as_path(str(result.model)))) as chat:
            after = preview.answers(chat, samples)
    return preview.side_by_side(samples, before, after)


def _row(one: "Preview") -> dict[str, Any]:
    return {
        "place": str(one.place),
        "question": one.question,
        "wanted": one.wanted,
        "before": one.before,
        "after": one.after,
    }


def _view(result: "TuneResult", settings: TuneSettings, shown: "list[Preview]") -> str:
    lines = [
        f"{result.steps} steps, loss {result.train_loss:.3f}"
        + (f", held out {result.eval_loss:.3f}" if result.eval_loss is not None else ""),
        f"{result.tokens_per_s:,.0f} tokens/s, peak {result.peak_bytes / 1e9:.1f} GB",
        f"loss curve: {settings.out / 'loss.png'}",
        f"{'adapter' if result.adapter else 'model'}: {result.adapter or result.model}",
    ]
    if settings.tensorboard:
        lines.insert(3, f"curves: tensorboard --logdir {settings.out / 'tensorboard'}")
    if result.preferred is not None:
        p = result.preferred
        lines.insert(
            1, f"held-out pairs in the right order: {p['share']:.0%} ({p['low']:.0%} to {p['high']:.0%})"
        )
    if result.finished_before:
        lines.insert(0, "this run had already finished; to train again choose another --out")
    if result.adapter:
        lines.append(f"try it: weightwright chat {settings.model}+{_as_path(str(result.adapter))}")
    for one in shown:
        lines.append(
            f"\n{one.question}\n  before: {one.before}\n  after:  {one.after}\n  wanted: {one.wanted}"
        )
    return "\n".join([*lines, *result.diagnosis, *result.notes])


def _as_path(text: str) -> str:
    return text if text.startswith(("/", "./", "../", "~")) else f"./{text}"
