"""Whose a folder is: a run goes on in its own, and never in another's."""

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright import config
from weightwright.data.catalogue import Source, fingerprint
from weightwright.errors import TuneError
from weightwright.files import write_whole
from weightwright.tune.rewards import parse_reward
from weightwright.tune.settings import FREE_FIELDS, TuneSettings
from weightwright.weights.templates import template_hash

if TYPE_CHECKING:
    from weightwright.tune.state import RunPlan
    from weightwright.weights.load import Loaded

_RUN_FILE = "run.json"
_FILES = ("data", "eval_data", "mix_data")  # known by their content, wherever they stand
_DAY = "template_day"  # of a chat template that writes the date


def claim_folder(settings: TuneSettings, identity: dict[str, Any]) -> None:
    """Make `out` this run's folder, or find that it is.

    Raises TuneError when it is another run's: runs are never mixed.
    """
    file = settings.out / _RUN_FILE
    if file.is_file():
        before = {_DAY: identity.get(_DAY)} | json.loads(file.read_text(encoding="utf-8"))
        changed = _differences(_with_later_options(before), identity)
        if changed:
            raise TuneError(
                f"{settings.out} holds a run with other settings ({changed}); "
                "choose another --out, or remove that folder"
            )
        return
    if settings.out.exists() and (not settings.out.is_dir() or _holds_other_files(settings.out)):
        raise TuneError(f"{settings.out} exists and is no run of this program; choose another --out")
    settings.out.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(identity, indent=2).encode())
    write_whole(settings.out / "settings.yaml", config.to_yaml(settings).encode())


def _with_later_options(before: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version noted of its run, with the defaults of options that came after it."""
    given = {key: value for key, value in before.items() if key in TuneSettings.model_fields}
    settings = TuneSettings.model_validate(given | {"data": "", "out": ""})
    return {key: value for key, value in before.items() if key not in FREE_FIELDS} | _options(settings)


def _options(settings: TuneSettings) -> dict[str, Any]:
    """The options that change the weights which come out."""
    return settings.model_dump(mode="json", exclude={*_FILES, "out", *FREE_FIELDS})


def _holds_other_files(folder: Path) -> bool:
    """Whether there is anything but what a run that was killed while it made its folder left behind."""
    return any(not path.name.startswith(f".{_RUN_FILE}.") for path in folder.iterdir())


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    return "; ".join(
        f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    )


def require_same(first: dict[str, Any], mine: dict[str, Any]) -> None:
    """Raise TuneError where this process would train something else than the first one."""
    changed = _differences(first, mine)
    if changed:
        raise TuneError(
            f"the processes of this run differ: what in the first one {changed} in another; give all hosts the same "
            "model, rows and settings"
        )


def asked_of(settings: TuneSettings) -> dict[str, Any]:
    """The options that change the weights which come out, and the content of the files."""
    values = _options(settings)
    for name in _FILES:
        files = getattr(settings, name)
        if files is not None:
            values[f"{name}_sha256"] = fingerprint(Source(files, held_out=name == "eval_data"))
    for reward in map(parse_reward, settings.reward):
        if reward.file is not None:
            values[f"{reward.file}_sha256"] = fingerprint(reward.file)
    return values


def today() -> datetime.date:
    """The day as chat templates count it, in local time."""
    return datetime.datetime.now().date()


def first_day(folder: Path) -> datetime.date:
    """The day on which the run in `folder` began; today where there is none."""
    file = folder / _RUN_FILE
    if not file.is_file():
        return today()
    noted = json.loads(file.read_text(encoding="utf-8")).get(_DAY)
    # earlier versions did not note it
    return datetime.date.fromisoformat(noted) if noted else datetime.date.fromtimestamp(file.stat().st_mtime)


def identity_of(
    settings: TuneSettings, plan: "RunPlan", loaded: "Loaded", day: datetime.date | None = None
) -> dict[str, Any]:
    """All that the weights which come out depend on; `day` is that of a chat template that writes the date."""
    found = {"model_fingerprint": loaded.fingerprint, "steps": plan.steps, "rows": len(plan.examples)}
    if settings.template is not None:
        found["template_sha256"] = template_hash(loaded.tokenizer.chat_template)
    if day is not None:
        found[_DAY] = day.isoformat()
    return asked_of(settings) | found
