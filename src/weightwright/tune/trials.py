"""Which settings? Runs with different ones beside each other, halved by their held-out loss: `tune --search`.

Successive halving (Jamieson, Talwalkar 2016, arXiv 1502.07943): all runs take a share of their steps, the better half
goes on to twice that share, and so on. A run that goes on is resumed: the best one ends with the weights
that its settings alone give.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from weightwright import config
from weightwright.errors import SettingsError, TuneError
from weightwright.files import remove_whole, write_whole
from weightwright.machine.peak import reset_peak
from weightwright.ports import Progress, silent
from weightwright.stats.intervals import difference_interval
from weightwright.tune import held_out
from weightwright.tune.ownership import asked_of
from weightwright.tune.result import TuneResult
from weightwright.tune.run import base_model, tune
from weightwright.tune.settings import TuneSettings

FILE, FOLDER = "search.json", "search"
MOST = 64  # settings tried in one search
_LEAST_SHARE = 1 / 8  # of its steps that each run takes; a shorter one says little about where it will end

# What may differ between runs whose held-out losses are compared: not what the loss is, nor what rows are read.
MAY_VARY = (
    "rank", "alpha", "dropout", "targets", "rslora", "dora", "method", "epochs", "max_steps", "optimizer", "momentum",
    "learning_rate", "schedule", "warmup_steps", "warmup_ratio", "weight_decay", "max_grad_norm", "batch", "seed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings to try: the options that differ, as text, and a run with them."""

    name: str
    settings: TuneSettings


@dataclass(frozen=True, slots=True)
class Trial:
    """How far a candidate came: steps done, held-out loss, seconds of its steps, peak memory.

    `behind` is its loss above the best one's after the same share of steps, with its 95% interval over held-out rows;
    None for the best one itself.
    """

    name: str
    share: float
    steps: int
    eval_loss: float
    train_s: float
    peak_bytes: int
    behind: tuple[float, float, float] | None = None

    def data(self) -> dict[str, Any]:
        """The trial as JSON."""
        values = asdict(self)
        behind = dict(zip(("loss", "low", "high"), self.behind, strict=True)) if self.behind else None
        return values | {"behind": behind}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Every candidate where it ended, best first, and the run of the best one, kept in `out` as any run's result."""

    trials: tuple[Trial, ...]
    best: TuneResult

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        return {"best": self.trials[0].name, "trials": [one.data() for one in self.trials]}


@dataclass
class _State:
    """search.json: what the search is of, the trials of each round so far, the best run's result."""

    identity: dict[str, Any]
    rounds: list[list[Trial]] = field(default_factory=list)
    best: dict[str, Any] | None = None


def search(settings: TuneSettings, progress: Progress = silent) -> SearchResult:
    """Try the settings of `settings.search` and keep the best; the same command goes on where one stopped.

    Raises SettingsError for values that cannot be tried, TuneError for a folder that is another's, and what a run
    raises.
    """
    if settings.eval_data is None:
        raise SettingsError("--search compares held-out losses: give --eval-data")
    if settings.fsdp:
        raise SettingsError("--search runs in one process: search without fsdp, then tune with what it found")
    candidates = read_candidates(settings)
    state = _claimed(settings, candidates)
    if state.best is None:
        _run(settings, candidates, state, progress)
    return SearchResult(_last_of_each(state.rounds), TuneResult.from_json(state.best or {}))


def read_candidates(settings: TuneSettings) -> list[Candidate]:
    """Every combination of the values in `settings.search`. Raises SettingsError."""
    axes = dict(map(_axis, settings.search))
    if len(axes) < len(settings.search):
        raise SettingsError("--search: an option stands there twice; give all its values at once")
    count = math.prod(map(len, axes.values()))
    if not 2 <= count <= MOST:
        raise SettingsError(f"--search: {count} combinations, 2 to {MOST} can be tried")
    found = []
    for number, values in enumerate(product(*axes.values())):
        changes = dict(zip(axes, values, strict=True))
        name = " ".join(f"{key}={_shown(value)}" for key, value in changes.items())
        folder = settings.out / FOLDER / f"{number:02d}-{re.sub(r'[^a-z0-9.=_-]+', '-', name.lower())[:80]}"
        given = settings.model_dump(exclude_unset=True) | changes | {"search": (), "out": folder}
        try:
            found.append(Candidate(name, TuneSettings.model_validate(given)))
        except ValidationError as error:
            raise SettingsError(f"--search {name}: {config.explain(error, TuneSettings)}") from error
    return found


def rounds(candidates: int) -> Iterator[tuple[float, int]]:
    """The share of its steps that each run takes in a round, and how many of them go on after it."""
    count = min(max(1, math.ceil(math.log2(candidates))), round(math.log2(1 / _LEAST_SHARE)) + 1)
    for number in range(count):
        left = max(2, math.ceil(candidates / 2 ** (number + 1)))
        yield 2.0 ** (number + 1 - count), left if number < count - 1 else 1


def _axis(text: str) -> tuple[str, list[Any]]:
    """`rank=8,16` as the option and its values; values with commas stand in YAML's brackets."""
    name, equals, listed = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not listed.strip():
        raise SettingsError(f"--search {text}: expected OPTION=VALUE,VALUE, such as rank=8,16")
    if name not in MAY_VARY:
        raise SettingsError(f"--search {text}: only these can be searched: {', '.join(MAY_VARY)}")
    try:
        values = yaml.safe_load(listed if listed.lstrip().startswith("[") else f"[{listed}]")
    except yaml.YAMLError as error:
        raise SettingsError(f"--search {text}: the values cannot be read as a list") from error
    if len({repr(value) for value in values}) < len(values):
        raise SettingsError(f"--search {text}: a value stands there twice")
    return name, [float(value) if _is_number(value) else value for value in values]


def _is_number(value: Any) -> bool:
    """Whether YAML read `1e-4`, which it takes for a text (it wants `1.0e-4`)."""
    return isinstance(value, str) and bool(re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value))


def _shown(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def _claimed(settings: TuneSettings, candidates: Sequence[Candidate]) -> _State:
    """The state of this search in its folder, or a new one there. Raises TuneError where it is another's folder."""
    file = settings.out / FILE
    identity = asked_of(settings) | {"search": [one.name for one in candidates]}
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        changed = sorted(
            key for key in identity | kept["identity"] if identity.get(key) != kept["identity"].get(key)
        )
        if changed:
            raise TuneError(
                f"{settings.out} holds a search of other settings ({', '.join(changed)}); choose another --out"
            )
        told = [
            [Trial(**{**one, "behind": _tuple(one["behind"])}) for one in part] for part in kept["rounds"]
        ]
        return _State(identity, told, kept["best"])
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())):
        raise TuneError(f"{settings.out} exists and is no search of this program; choose another --out")
    settings.out.mkdir(parents=True, exist_ok=True)
    state = _State(identity)
    _write(settings.out, state)
    return state


def _tuple(values: Sequence[float] | None) -> tuple[float, float, float] | None:
    return (values[0], values[1], values[2]) if values else None


def _write(out: Path, state: _State) -> None:
    write_whole(out / FILE, json.dumps(asdict(state), indent=2).encode())


def _run(settings: TuneSettings, candidates: Sequence[Candidate], state: _State, progress: Progress) -> None:
    """All rounds that remain; the best run's files are kept in `out`, the weights of the others are removed."""
    shared = settings.method == "lora" and not any(one.settings.method != "lora" for one in candidates)
    loaded = base_model(settings) if shared else None
    going = {one.name: one for one in candidates}
    for number, (share, left) in enumerate(rounds(len(candidates))):
        if number == len(state.rounds):
            state.rounds.append([])
        done = state.rounds[number]
        for place, one in enumerate(going.values()):
            if any(trial.name == one.name for trial in done):
                continue
            about = f"{one.name} ({place + 1} of {len(going)}, {share:.0%} of its steps)"
            reset_peak()
            result = tune(one.settings, loaded=loaded, share=share, progress=_said(progress, about))
            assert result.eval_loss is not None
            done.append(
                Trial(one.name, share, result.steps, result.eval_loss, result.train_s, result.peak_bytes)
            )
            _write(settings.out, state)
        state.rounds[number] = ranked = _ranked(done, going)
        _write(settings.out, state)
        for trial in ranked[left:]:
            remove_whole(going.pop(trial.name).settings.out / "checkpoints")
        going = {trial.name: going[trial.name] for trial in ranked[:left]}
    best = next(iter(going.values()))
    state.best = _keep(best.settings.out, settings.out)
    _write(settings.out, state)
    for one in candidates:
        for name in ("checkpoints", "adapter", "model"):
            remove_whole(one.settings.out / name)


def _said(progress: Progress, about: str) -> Progress:
    return lambda done, total, note="": progress(done, total, f"{about}: {note}")


def _ranked(done: Sequence[Trial], going: Mapping[str, Candidate]) -> list[Trial]:
    """The trials of a round, best first, each with how far it is behind the best."""
    ordered = sorted(done, key=lambda trial: trial.eval_loss)
    rows = {trial.name: held_out.read(going[trial.name].settings.out) for trial in done}
    sizes = [row.size for row in rows[ordered[0].name]]
    mean = sum(sizes) / len(sizes)

    def weighted(trial: Trial) -> list[float]:
        return [row.size * row.after / mean for row in rows[trial.name]]

    first, found = weighted(ordered[0]), [ordered[0]]
    for trial in ordered[1:]:
        apart = difference_interval(weighted(trial), first)
        values = {**asdict(trial), "behind": (apart.mean, apart.low, apart.high)}
        found.append(Trial(**values))
    return found


def _keep(run: Path, out: Path) -> dict[str, Any]:
    """Put the best run's result where any run's is, whole or not at all; its result as JSON."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    for name in ("adapter", "model"):
        if result[name]:
            _moved(run / name, out / name)
            result[name] = str(out / name)
    for name in ("result.json", "settings.yaml", "loss.png", "log.jsonl", held_out.FILE):
        if (run / name).is_file():
            write_whole(out / name, (run / name).read_bytes())
    write_whole(out / "result.json", json.dumps(result, indent=2).encode())
    return dict(result)


def _moved(source: Path, target: Path) -> None:
    """Rename a folder; it is already there where an earlier call was cut off after that."""
    if source.is_dir():
        remove_whole(target)
        source.rename(target)


def _last_of_each(done: Sequence[Sequence[Trial]]) -> tuple[Trial, ...]:
    """Each candidate in the last round it took part in, best first."""
    found: dict[str, Trial] = {}
    for part in reversed(done):
        for trial in part:
            found.setdefault(trial.name, trial)
    return tuple(found.values())
