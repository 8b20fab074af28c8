"""`weightwright pull`, `list`, `show`, `rm`: the local model store."""

from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.config import Settings
from weightwright.hub import models
from weightwright.hub.models import PullSettings, RmSettings
from weightwright.weights import describe
from weightwright.weights.describe import ShowSettings


@verb(PullSettings, section="pull", positional=("model",))
def pull(settings: PullSettings) -> Outcome:
    """Download a model, or bring it up to date: resumed, checked, only the files needed."""
    with bar(f"pull {settings.model}") as progress:
        model = models.pull(settings, progress)
    return Outcome(model.data(), str(model.path))


@verb(Settings, section="list")
def list_models(settings: Settings) -> Outcome:
    """List the models in the store and those that came as Python packages."""
    del settings
    from rich.table import Column, Table
    from rich.text import Text

    here = models.here()
    table = Table("model", "from", "GB", Column("path", overflow="fold"))
    for one in here:
        table.add_row(one.model, one.source, f"{one.size_bytes / 1e9:.2f}", Text(str(one.path)))
    none = "no models yet; weightwright pull MODEL brings one"
    return Outcome({"models": [one.data() for one in here]}, table if here else none)


@verb(ShowSettings, section="show", positional=("model",))
def show(settings: ShowSettings) -> Outcome:
    """Say whether a model can be used here, and what it is."""
    data = describe.show(settings)
    return Outcome(data, _shown(data))


@verb(RmSettings, section="rm", positional=("model",))
def remove(settings: RmSettings) -> Outcome:
    """Delete a model from the store; packages and your own folders stay."""
    gone = models.remove(settings)
    return Outcome(gone.data(), f"removed {gone.model}, {gone.freed_bytes / 1e9:.2f} GB freed")


def _template(data: dict[str, Any]) -> str:
    if data["chat_template"]:
        return "yes"
    known = data["template_by_name"]
    return f"none of its own; by its name {known}'s" if known else "no: it completes text, chat needs one"


def _shown(data: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    rows = {
        "supported": "yes" if data["supported"] else f"no: {data['why']}",
        "architecture": data["architecture"] or "unknown",
        "parameters": f"{data['parameters']:,}" if data["parameters"] else "unknown",
        "context": f"{data['context_tokens']:,} tokens" if data["context_tokens"] else "unknown",
        "chat template": _template(data),
        "weights": f"{data['weights_bytes'] / 1e9:.2f} GB {data['weights_type']}",
        "licence": data["licence"] or "not stated",
        "path": data["path"],
        "fingerprint": data["fingerprint"],
    }
    table = Table(show_header=False, box=None)
    for name, text in rows.items():
        table.add_row(name, Text(text, overflow="fold"))
    return table
