"""The card of what a run has learnt: `README.md` with the head that hubs read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from weightwright.address.models import parse_model
from weightwright.tune.ownership import asked_of
from weightwright.tune.settings import TuneSettings
from weightwright.weights.describe import describe

if TYPE_CHECKING:
    from weightwright.tune.result import TuneResult
    from weightwright.weights.load import Loaded

_TAGS = {"lora": ("lora",), "qlora": ("lora", "qlora"), "full": ()}
_LICENSES = {
    "apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0",
    "openrail", "bigscience-openrail-m", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4",
}  # fmt: skip
_SHOWN = (
    "method", "objective", "train_on", "rank", "alpha", "targets", "dropout", "epochs", "learning_rate",
    "schedule", "optimizer", "weight_decay", "max_length", "precision", "seed",
)  # fmt: skip


def card(settings: TuneSettings, result: "TuneResult", loaded: "Loaded", rows: int) -> str:
    """The text of the card, of a run over so many rows. Of files it has the names, no paths of this machine."""
    head = yaml.safe_dump(_head(settings, loaded), sort_keys=False, allow_unicode=True)
    base = _base_name(settings, loaded)
    kind = "full tuning" if settings.method == "full" else "adapter"
    losses = f"- loss at the end: {result.train_loss:.4f}"
    if result.eval_loss is not None:
        losses += f"\n- loss on held-out rows: {result.eval_loss:.4f}"
    values = settings.model_dump(mode="json")
    values |= {"learning_rate": f"{settings.peak_learning_rate:g}", "alpha": f"{settings.lora_alpha:g}"}
    if settings.method == "full":
        values |= dict.fromkeys(("rank", "alpha", "targets", "dropout"))
    table = "\n".join(f"| {name} | {values[name]} |" for name in _SHOWN if values.get(name) is not None)
    digests = {name: digest for name, digest in asked_of(settings).items() if name.endswith("_sha256")}
    hashes = "\n".join(f"- {name}: `{digest}`" for name, digest in digests.items())
    return f"""---
{head}---

# {base}: {kind}

Tuned with weightwright from `{base}` on {rows:,} rows of {_files(settings)}, {result.steps:,} steps.

{losses}

| setting | value |
|---|---|
{table}

Hashes:

- base model: `{loaded.fingerprint}`
{hashes}
"""


def _files(settings: TuneSettings) -> str:
    """The names of the files and folders that rows are from."""
    names = [f"`{path.name}`" for path in settings.data]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _head(settings: TuneSettings, loaded: "Loaded") -> dict[str, Any]:
    """What hubs read. Only a model of a hub is named as the base: they refuse a path there."""
    hub_id, licence = parse_model(settings.model).hub_id, describe(loaded.path).licence
    full = settings.method == "full"
    return {
        **({"base_model": hub_id} if hub_id else {}),
        "library_name": "transformers" if full else "peft",
        "pipeline_tag": "text-generation",
        **_license(licence),
        "tags": [*_TAGS[settings.method], settings.objective, "weightwright"],
    }


def _license(named: str) -> dict[str, str]:
    """A licence as hubs take it: an identifier that they know, or `other` with its name."""
    if not named:
        return {}
    return {"license": named} if named in _LICENSES else {"license": "other", "license_name": named}


def _base_name(settings: TuneSettings, loaded: "Loaded") -> str:
    return parse_model(settings.model).hub_id or Path(loaded.path).name
