"""`weightwright pull`, `list`, `show`, `rm`: the local model store."""

from typing import Any

from pydantic import Field

from weightwright.address.models import EmbedderAddress, ModelAddress, parse_embedder, parse_model
from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.config import Settings
from weightwright.errors import AddressError, ModelError
from weightwright.hub import store
from weightwright.hub.pull import pull as bring


class PullSettings(Settings):
    """What to pull, and from where."""

    model: str = Field(description="hub id OWNER/NAME or a short name, with :TAG for one GGUF file")
    source: store.Source = Field("huggingface", alias="from", description="huggingface or modelscope")


class ListSettings(Settings):
    """`list` has no options of its own."""


class ShowSettings(Settings):
    """Which model to describe."""

    model: str = Field(description="model address: hub id that was pulled, path or short name")


class RmSettings(Settings):
    """Which model to remove."""

    model: str = Field(description="hub id that was pulled; with :TAG only that GGUF file")


@verb(PullSettings, section="pull", positional=("model",))
def pull(settings: PullSettings) -> Outcome:
    """Download a model, or bring it up to date: resumed, checked, only the files needed."""
    address = _address(settings.model)
    with bar(f"pull {address}") as progress:
        path = bring(address, source=settings.source, update=True, progress=progress)
    return Outcome({"model": str(address), "path": str(path)}, str(path))


@verb(ListSettings, section="list")
def list_models(settings: ListSettings) -> Outcome:
    """List the models in the store and those that came as Python packages."""
    del settings
    from rich.table import Column, Table
    from rich.text import Text

    rows = [*_packaged_rows(), *_stored_rows()]
    table = Table("model", "from", "GB", Column("path", overflow="fold"))
    for row in rows:
        table.add_row(row["model"], row["from"], f"{row['bytes'] / 1e9:.2f}", Text(row["path"]))
    return Outcome({"models": rows}, table if rows else "no models yet; weightwright pull MODEL brings one")


@verb(ShowSettings, section="show", positional=("model",))
def show(settings: ShowSettings) -> Outcome:
    """Say whether a model can be used here, and what it is."""
    from weightwright.weights.describe import describe

    address = parse_model(settings.model)
    path = store.locate(address)
    if path is None:
        remedy = f"; run: weightwright pull {address}" if address.hub_id else ""
        raise ModelError(f"{address} is not on this machine{remedy}")
    found = describe(path)
    data: dict[str, Any] = {
        "model": str(address),
        "path": str(found.path),
        "supported": found.support.ok,
        "why": found.support.why,
        "architecture": found.support.architecture,
        "parameters": found.parameters,
        "context_tokens": found.context_tokens,
        "chat_template": found.has_template,
        "weights_bytes": found.weights_bytes,
        "weights_type": found.weights_type,
        "licence": found.licence,
        "fingerprint": found.fingerprint,
    }
    return Outcome(data, _shown(data))


@verb(RmSettings, section="rm", positional=("model",))
def remove(settings: RmSettings) -> Outcome:
    """Delete a model from the store; packages and your own folders stay."""
    address = _address(settings.model)
    freed = store.remove(address)
    return Outcome(
        {"model": str(address), "freed_bytes": freed}, f"removed {address}, {freed / 1e9:.2f} GB freed"
    )


def _address(text: str) -> ModelAddress | EmbedderAddress:
    """A model's address, or the short name of an embedder."""
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


def _packaged_rows() -> list[dict[str, Any]]:
    from weightwright.address import packages

    rows = []
    for name, packaged in {**packages.MODELS, **packages.EMBEDDERS}.items():
        path = packages.files_of(packaged)
        if path is not None:
            files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
            size = sum(file.stat().st_size for file in files)
            rows.append({"model": name, "from": packaged.distribution, "bytes": size, "path": str(path)})
    return rows


def _stored_rows() -> list[dict[str, Any]]:
    return [
        {
            "model": stored.hub_id,
            "from": stored.source,
            "bytes": stored.size_bytes,
            "path": str(stored.folder),
        }
        for stored in store.list_models()
    ]


def _shown(data: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    rows = {
        "supported": "yes" if data["supported"] else f"no: {data['why']}",
        "architecture": data["architecture"] or "unknown",
        "parameters": f"{data['parameters']:,}" if data["parameters"] else "unknown",
        "context": f"{data['context_tokens']:,} tokens" if data["context_tokens"] else "unknown",
        "chat template": "yes" if data["chat_template"] else "no: it completes text, chat needs one",
        "weights": f"{data['weights_bytes'] / 1e9:.2f} GB {data['weights_type']}",
        "licence": data["licence"] or "not stated",
        "path": data["path"],
        "fingerprint": data["fingerprint"],
    }
    table = Table(show_header=False, box=None)
    for name, text in rows.items():
        table.add_row(name, Text(text, overflow="fold"))
    return table
