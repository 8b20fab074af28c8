"""`weightwright tune`: train an adapter, or every weight, on your rows."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.cli.flags import Outcome, Reader, said, verb
from weightwright.cli.progress import bar
from weightwright.errors import TemplateError
from weightwright.files import as_path
from weightwright.tune.settings import TuneSettings

if TYPE_CHECKING:
    from weightwright.tune.held_out import KindLoss
    from weightwright.tune.preview import Preview
    from weightwright.tune.result import TuneResult


def _llamafactory(file: Path) -> dict[str, Any]:
    """The settings in LLaMA-Factory's file; what differs or is unknown is said."""
    from weightwright.tune.llamafactory import read_llamafactory

    return said(str(file), read_llamafactory(file))


def _fastchat(text: str) -> dict[str, Any]:
    """The settings in the flags of FastChat's trainer; what differs or is unknown is said."""
    from weightwright.tune.fastchat import WHERE, read_fastchat

    return said(WHERE, read_fastchat(text))


_READERS = {
    "llamafactory": Reader(_llamafactory, "read settings from LLaMA-Factory's YAML or JSON file"),
    "fastchat": Reader(_fastchat, "read settings from FastChat's flags, in quotes, or from its script", str),
}


@verb(TuneSettings, section="tune", positional=("model",), readers=_READERS)
def tune(settings: TuneSettings) -> Outcome | None:
    """Train an adapter, or every weight, on your rows.

    The same command goes on where an interrupted run stopped. `weightwright tune watch DIR` follows a run from
    another terminal.
    """
    from weightwright.connect import open_chat, open_embedder, open_sampler
    from weightwright.judge.rewards import open_rewards
    from weightwright.tune import preview, run
    from weightwright.tune.distributed import is_first
    from weightwright.tune.rollout import Sampling

    if settings.search:
        return _search(settings)
    if not is_first():  # one of several processes: the first one shows and answers
        run.tune(settings)
        return None
    asked = preview.asked_kinds(settings, open_embedder)
    for line in asked.lines() if asked else ():
        print(line, file=sys.stderr)
    with bar("tune") as progress:
        try:
            result = run.tune(settings, sampling=Sampling(open_sampler, open_rewards), progress=progress)
        except TemplateError as error:  # the first such row
            files = " ".join(map(str, settings.data))
            listed = f"all such rows: weightwright data check {files} --model {settings.model}"
            raise TemplateError(error.place, f"{error.problem}; {listed}") from error
    shown = [] if result.finished_before else preview.before_and_after(result, settings, open_chat)
    kinds = preview.losses_by_kind(settings, open_embedder)
    data = {
        **result.to_json(),
        "shown": [one.data() for one in shown],
        "kinds": [asdict(one) for one in kinds],
        "asked": None if asked is None else asked.to_json(),
    }
    return Outcome(data, _view(result, settings, shown, kinds))


def _search(settings: TuneSettings) -> Outcome:
    from rich.console import Group
    from rich.table import Table

    from weightwright.tune import trials

    with bar("search") as progress:
        found = trials.search(settings, progress)
    table = Table(
        "settings",
        "steps",
        "held-out loss",
        "behind the best (95%)",
        "minutes",
        "peak GB",
        title_justify="left",
    )
    for one in found.trials:
        behind = "-"
        if one.behind is not None:
            more, low, high = one.behind
            behind = f"{more:+.3f} ({low:+.3f} to {high:+.3f}) at {one.share:.0%} of the steps"
        table.add_row(
            one.name, str(one.steps), f"{one.eval_loss:.3f}", behind, f"{one.train_s / 60:.1f}",
            f"{one.peak_bytes / 1e9:.1f}",
        )  # fmt: skip
    text = f"best: {found.trials[0].name}\n{_view(found.best, settings)}"
    return Outcome({**found.best.to_json(), "search": found.data()}, Group(table, text))


def _view(
    result: "TuneResult",
    settings: TuneSettings,
    shown: "Sequence[Preview]" = (),
    kinds: "Sequence[KindLoss]" = (),
) -> str:
    lines = [
        f"{result.steps} steps, loss {result.train_loss:.3f}"
        + (f", held out {result.eval_loss:.3f}" if result.eval_loss is not None else ""),
        f"{result.tokens_per_s:,.0f} tokens/s, peak {result.peak_bytes / 1e9:.1f} GB",
        f"loss curve: {settings.out / 'loss.png'}",
        f"{'adapter' if result.adapter else 'model'}: {result.adapter or result.model}",
    ]
    if result.reward is not None:
        r = result.reward
        lines[0] = f"{result.steps} steps, no answer judged"
        if "first" in r:
            lines[0] = f"{result.steps} steps, reward {r['first']:.3f} at first, {r['last']:.3f} at last"
        if "held_out_last" in r:
            lines[0] += f"; held out {r['held_out_first']:.3f}, then {r['held_out_last']:.3f}"
        lines[2] = f"reward curve: {settings.out / 'loss.png'}"
    if settings.tensorboard:
        lines.insert(3, f"curves: tensorboard --logdir {settings.out / 'tensorboard'}")
    if result.preferred is not None:
        p = result.preferred
        lines.insert(
            1, f"held-out pairs in the right order: {p['share']:.0%} ({p['low']:.0%} to {p['high']:.0%})"
        )
    if result.general is not None:
        before, after = result.general["before"], result.general["after"]
        lines.append(f"general questions: loss {before:.3f} before, {after:.3f} after")
    for kind in kinds:
        first = "" if kind.before is None else f"{kind.before:.3f} before, "
        lines.append(f"held out, {kind.rows} rows like {kind.example!r}: loss {first}{kind.after:.3f} after")
    if result.finished_before and not settings.search:
        lines.insert(0, "this run had already finished; to train again choose another --out")
    if result.adapter:
        lines.append(f"try it: weightwright chat {settings.model}+{as_path(result.adapter)}")
    for one in shown:
        lines.append(
            f"\n{one.question}\n  before: {one.before}\n  after:  {one.after}\n  wanted: {one.wanted}"
        )
    return "\n".join([*lines, *result.diagnosis, *result.notes])
