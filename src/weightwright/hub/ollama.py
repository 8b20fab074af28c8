"""Models in an Ollama store on this machine, used where they lie."""

import json
import os
import re
from pathlib import Path

from weightwright.home import cache

_MODEL = "application/vnd.ollama.image.model"


def file_of(name: str) -> Path | None:
    """The GGUF file of `qwen2.5:7b` in an Ollama store, by a link whose name ends so; None where it has none."""
    model, _, size = name.partition(":")
    for root in _roots():
        manifest = root / "manifests" / "registry.ollama.ai" / "library" / model / (size or "latest")
        try:
            layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
            digest = next(str(one["digest"]) for one in layers if one["mediaType"] == _MODEL)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
        blob = root / "blobs" / digest.replace(":", "-")
        if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) and blob.is_file():
            return _linked(blob, f"{model}-{size or 'latest'}-{digest[7:19]}.gguf")
    return None


def _roots() -> list[Path]:
    """Where Ollama keeps models: where its variable says, in the home folder, as a service of Linux."""
    said = os.environ.get("OLLAMA_MODELS")
    usual = [Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]
    return [Path(said), *usual] if said else usual


def _linked(blob: Path, name: str) -> Path:
    """A link to a blob, whose own name does not say what it is."""
    link = cache() / "ollama" / name
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # of a blob that is gone
        link.symlink_to(blob.absolute())
    return link
