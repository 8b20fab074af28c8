"""What outsiders can reuse in their own tests: a contract for each seam, an embedder without a model, tiny models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightwright.testing.embedder import HashEmbedder as HashEmbedder
    from weightwright.testing.metric import MetricContract as MetricContract
    from weightwright.testing.models import tiny_llama as tiny_llama
    from weightwright.testing.objective import ObjectiveContract as ObjectiveContract
    from weightwright.testing.reader import ReaderContract as ReaderContract
    from weightwright.testing.store import StoreContract as StoreContract
    from weightwright.testing.wire import WireContract as WireContract

__all__ = [
    "HashEmbedder",
    "MetricContract",
    "ObjectiveContract",
    "ReaderContract",
    "StoreContract",
    "WireContract",
    "tiny_llama",
]

_HOMES = {
    "HashEmbedder": "embedder",
    "MetricContract": "metric",
    "ObjectiveContract": "objective",
    "ReaderContract": "reader",
    "StoreContract": "store",
    "WireContract": "wire",
    "tiny_llama": "models",
}


def __getattr__(name: str) -> Any:
    """Imported when asked for: a store's contract needs no torch, an objective's does."""
    if name in _HOMES:
        return getattr(import_module(f"weightwright.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'weightwright.testing' has no attribute {name!r}")
