"""`pull`, `list` and `rm`: the models on this machine, from settings to what was found or done."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from weightwright.address import packages
from weightwright.address.models import EmbedderAddress, ModelAddress, parse_embedder, parse_model
from weightwright.config import Settings
from weightwright.errors import AddressError
from weightwright.hub import converted, store
from weightwright.hub.pull import pull as bring
from weightwright.ports import Progress, silent


class PullSettings(Settings):
    """What to pull, and from where."""

    model: str = Field(description="hub id OWNER/NAME or a short name, with :TAG for one GGUF file")
    source: store.Source = Field("huggingface", alias="from", description="huggingface or modelscope")


class RmSettings(Settings):
    """Which model to remove."""

    model: str = Field(description="hub id that was pulled; with :TAG only that GGUF file")


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is here now, and where."""

    model: str
    path: Path

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        return {"model": self.model, "path": str(self.path)}


@dataclass(frozen=True, slots=True)
class Removed:
    """A model that is gone, and the room that it took."""

    model: str
    freed_bytes: int

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        return {"model": self.model, "freed_bytes": self.freed_bytes}


@dataclass(frozen=True, slots=True)
class Here:
    """A model or embedder on this machine: its address, the hub or package it came from, its files."""

    model: str
    source: str
    size_bytes: int
    path: Path

    def data(self) -> dict[str, Any]:
        """The row as JSON."""
        return {"model": self.model, "from": self.source, "bytes": self.size_bytes, "path": str(self.path)}


def pull(settings: PullSettings, progress: Progress = silent) -> Pulled:
    """Download a model, or bring it up to date. Raises AddressError and DownloadError."""
    address = any_address(settings.model)
    return Pulled(str(address), bring(address, source=settings.source, update=True, progress=progress))


def remove(settings: RmSettings) -> Removed:
    """Delete a model from the store; packages and the user's own folders stay. Raises ModelError."""
    address = any_address(settings.model)
    return Removed(str(address), store.remove(address))


def here() -> list[Here]:
    """Models and embedders that came as packages, then those in the store."""
    installed = []
    for name, packaged in {**packages.MODELS, **packages.EMBEDDERS}.items():
        path = packages.files_of(packaged)
        if path is not None:
            installed.append(Here(name, packaged.distribution, _size_bytes(path), path))
    models = store.list_models()
    stored = [Here(one.hub_id, one.source, one.size_bytes, one.folder) for one in models]
    pulled = {str(one.folder.resolve()): one.hub_id for one in models}
    made = [
        Here(pulled.get(name, name), "converted", _size_bytes(path), path)
        for name, path in converted.conversions()
    ]
    return installed + stored + made


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def any_address(text: str) -> ModelAddress | EmbedderAddress:
    """A model's address, or the short name of an embedder. Raises AddressError."""
    try:
        return parse_model(text)
    except AddressError:
        try:
            embedder = parse_embedder(text)
        except AddressError:
            embedder = None
        if embedder is None or embedder.kind != "short":
            raise
        return embedder
