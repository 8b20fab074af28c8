"""Models from a hub: pull them into the local store."""

from pathlib import Path

from weightwright.errors import DownloadError
from weightwright.model.address import EmbedderAddress, ModelAddress
from weightwright.model.local import Source, list_models, locate, remove
from weightwright.ports import Progress, silent

__all__ = ["Source", "list_models", "locate", "pull", "remove"]


def pull(
    address: str | ModelAddress | EmbedderAddress,
    *,
    source: Source = "huggingface",
    progress: Progress = silent,
) -> Path:
    """Download what an address needs into the store, unless it is here; its folder or GGUF file."""
    raise DownloadError(f"{address}: downloads are not built yet")
