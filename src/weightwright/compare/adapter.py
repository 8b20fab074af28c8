"""The adapter of a comparison: given, or tuned once and kept by a hash of rows, settings and model."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import weightwright
from weightwright.asking.answers import digest
from weightwright.compare.keys import of_folder
from weightwright.compare.settings import CompareSettings
from weightwright.data.catalogue import Source, fingerprint
from weightwright.errors import DataError, SettingsError
from weightwright.files import write_whole
from weightwright.home import home
from weightwright.ports import Progress
from weightwright.tune.settings import TuneSettings

NAME = "tuned"
_SECONDS = "compare-seconds.json"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a request names, its folder (None: a server has it), a hash, and the seconds of tuning."""

    name: str
    folder: Path | None
    fingerprint: str
    tuning_s: float | None


def ready_adapter(settings: CompareSettings, model_fingerprint: str, progress: Progress) -> Adapter:
    """The adapter, tuned first where the settings give rows. Raises what tuning raises."""
    if settings.tune.data is None:
        return _given(settings)
    if settings.remote:
        raise SettingsError(
            f"{settings.model} answers over HTTP and cannot be tuned from here; give the adapter's name "
            "at the server as `adapter`"
        )
    asked = tune_settings(settings, model_fingerprint)
    from weightwright.tune.run import tune

    with _timed(asked.out):
        result = tune(asked, progress=progress)
    if result.adapter is None:
        raise SettingsError(f"{asked.out} holds no adapter after tuning; method must be lora")
    return Adapter(NAME, result.adapter, of_folder(result.adapter), _seconds(asked.out))


def tune_settings(settings: CompareSettings, model_fingerprint: str) -> TuneSettings:
    """The tuning run: the overrides over tune's own defaults, in a folder named by all that matters."""
    rows = settings.tune.data
    if rows is None:
        raise SettingsError("tune.data is not given")
    overrides = settings.tune.model_dump(exclude_none=True, exclude={"data"})
    key = digest(
        [
            weightwright.__version__,
            model_fingerprint,
            fingerprint(Source(rows)),
            overrides,
            settings.answer.prompt.model_dump(),
        ]
    )
    return TuneSettings(
        model=settings.model,
        data=rows,
        out=home() / "adapters" / key,
        prompt=settings.answer.prompt,
        **overrides,
    )


def _given(settings: CompareSettings) -> Adapter:
    if settings.remote:
        return Adapter(settings.adapter, None, settings.adapter, None)
    folder = Path(settings.adapter)
    if not (folder / "adapter_config.json").is_file():
        raise DataError(None, f"adapter={folder} is no adapter folder; expected adapter_config.json in it")
    return Adapter(NAME, folder, of_folder(folder), None)


@contextmanager
def _timed(folder: Path) -> Iterator[None]:
    """Add the block's seconds to the folder's note, also when it is interrupted (not when it is killed)."""
    finished = (folder / "result.json").is_file()
    began_s = time.perf_counter()
    try:
        yield
    finally:
        if not finished and folder.is_dir():
            total_s = (_seconds(folder) or 0.0) + time.perf_counter() - began_s
            write_whole(folder / _SECONDS, json.dumps(total_s))


def _seconds(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / _SECONDS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
