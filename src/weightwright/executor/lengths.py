"""The row lengths of a DoRA adapter on a base model, kept beside the adapter: working them out takes seconds."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from weightwright.files import write_whole
from weightwright.home import cache
from weightwright.weights.adapter import Adapter

log = logging.getLogger(__name__)


def read_lengths(adapter: Adapter, base: str) -> dict[str, Tensor]:
    """The lengths [out] f32 of its modules' rows by module path, as far as they are kept for this base.

    `base` names the base weights and how they are held.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    for path in _places(adapter, base):
        try:
            lengths: dict[str, Tensor] = load(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read and is made anew: %s", path, error)
            continue
        return {
            name: length
            for name, length in lengths.items()
            if name in adapter.modules and length.shape == adapter.modules[name].b.shape[:1]
        }
    return {}


def write_lengths(adapter: Adapter, base: str, lengths: Mapping[str, Tensor]) -> None:
    """Keep the lengths in the adapter's folder or, where nothing can be written there, at home."""
    from safetensors.torch import save

    content = save({name: length.cpu().contiguous() for name, length in lengths.items()})
    for path in _places(adapter, base):
        try:
            write_whole(path, content)
        except OSError as error:
            log.info("the row lengths of adapter %s are not kept in %s: %s", adapter.name, path.parent, error)
        else:
            return


def _places(adapter: Adapter, base: str) -> tuple[Path, Path]:
    key = hashlib.blake2b(base.encode() + b"\0" + adapter.digest, digest_size=8).hexdigest()
    name = f"row_lengths.{key}.safetensors"
    return adapter.folder / name, cache() / "row_lengths" / name
