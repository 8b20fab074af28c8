"""The one door to the engine: from a model address and settings to an engine that answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from weightwright.address.models import ModelAddress
from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.options import Device
from weightwright.ports import Progress, silent


def open_engine(
    address: str | ModelAddress,
    *,
    adapters: Mapping[str, Path] | None = None,
    settings: EngineSettings | None = None,
    progress: Progress = silent,
) -> Engine:
    """An engine over the model at an address, which is pulled first when it is not on this machine.

    An adapter in the address is named `default` and answers where none is asked for. Raises MemoryLimitError, before
    anything is loaded, for a model that cannot fit; ModelError, DownloadError and SettingsError as `load` does.
    """
    from weightwright.weights.load import files_of, in_process, load

    address, settings = in_process(address), settings or EngineSettings()
    folders, default = dict(adapters or {}), None
    if address.adapter is not None:
        default = "default"
        folders[default] = address.adapter
    path = files_of(address, progress)
    _check_room(path, address, settings)
    loaded = load(
        address,
        path=path,
        precision=settings.precision,
        device=settings.device,
        trust_remote_code=settings.trust_remote_code,
        template=settings.template,
        progress=progress,
        deferred=True,
    )
    return Engine(loaded, adapters=folders, default_adapter=default, settings=settings)


def _check_room(path: Path, address: ModelAddress, settings: EngineSettings) -> None:
    """Refuse a model that cannot fit with a single short sequence. Raises MemoryLimitError."""
    from weightwright.machine.device import pick_device
    from weightwright.machine.memory import free_bytes
    from weightwright.plan.fits import require_room
    from weightwright.plan.settings import PlanSettings

    device = pick_device(settings.device)
    planned = PlanSettings(
        model=str(address),
        task="serve",
        precision=address.precision or settings.precision,
        device=cast("Device", device),
        sequences=1,
        context=16,
    )
    require_room(path, planned, free_bytes(device))
