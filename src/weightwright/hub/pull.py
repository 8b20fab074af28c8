"""Models from a hub into the local store: only the files needed, resumed, checked, put in place whole."""

import logging
from pathlib import Path

from weightwright.address.models import EmbedderAddress, ModelAddress, parse_model
from weightwright.address.names import NAMES
from weightwright.errors import DownloadError
from weightwright.hub import download, selection
from weightwright.hub.converted import converted_folder
from weightwright.hub.pickled import kept_name
from weightwright.hub.store import (
    Source,
    StoredModel,
    choose,
    folder_of,
    hub_cache_snapshot,
    list_models,
    locate,
    read_manifest,
    remove,
)
from weightwright.machine.memory import main_memory
from weightwright.ports import Progress, silent

_log = logging.getLogger(__name__)
_WORTH_SAYING = 500_000_000
_SMALLER = "Ctrl-C stops, and a smaller model or fewer bits (:q4) may do"

__all__ = ["Source", "StoredModel", "list_models", "locate", "pull", "remove"]


def pull(
    address: str | ModelAddress | EmbedderAddress,
    *,
    source: Source = "huggingface",
    update: bool = False,
    progress: Progress = silent,
) -> Path:
    """Bring a model or an embedder onto this machine; its folder or GGUF file.

    What a path, a package, the store or the user's Hugging Face cache holds is returned without a look
    at the network, unless `update` asks for the newest version. Raises DownloadError with the remedy;
    what arrived until then is kept and the next pull goes on from it.
    """
    if isinstance(address, str):
        address = parse_model(address)
    return converted_folder(_pulled(address, source, update, progress), progress)


def _pulled(
    address: ModelAddress | EmbedderAddress, source: Source, update: bool, progress: Progress
) -> Path:
    """The model's files as they came."""
    here = locate(address)
    if here is not None and (address.path is not None or not update):
        return here
    if address.hub_id is None:
        raise DownloadError(f"{address} is not a hub model; expected OWNER/NAME or a short name")
    if (
        here is not None
        and address.kind == "short"
        and not here.is_relative_to(folder_of(address.hub_id, source))
    ):
        return here  # the package's files: nothing newer to be had
    if here is not None and source == "huggingface" and _offline():
        return here
    hub = _client(source)
    known = expected(address) if here is None else ""
    _say(address, known)  # before the hub is asked, which may take long or refuse
    try:
        listing = hub.listing(address.hub_id)
    except DownloadError as error:
        if Path(address.hub_id).exists():
            raise DownloadError(
                f"{error}; what is at {address.hub_id} here is written ./{address.hub_id}"
            ) from error
        raise
    cached = hub_cache_snapshot(address.hub_id) if source == "huggingface" else None
    if (
        here is not None
        and cached is not None
        and here.is_relative_to(cached)
        and cached.name == listing.commit
    ):
        return here
    names = selection.needed([file.name for file in listing.files], address, address.hub_id)
    folder = folder_of(address.hub_id, source)
    stored = read_manifest(folder)
    if (
        stored is None
        or stored.commit != listing.commit
        or not set(map(kept_name, names)) <= set(stored.files)
    ):
        size_bytes = sum(file.size_bytes for file in listing.files if file.name in names)
        _say(address, "" if known else _sizes(address, size_bytes))
        download.into_store(hub, listing, names, folder, progress)
    arrived = choose(folder, address)
    if arrived is None:
        raise DownloadError(f"{address.hub_id} was pulled to {folder} but holds no model for {address}")
    return arrived


# of the bytes of 16 bits a weight, with what stays in more
_PACKED_SHARE = {"int8": 0.55, "int4": 0.35}


def expected(address: ModelAddress | EmbedderAddress) -> str:
    """What is known of a name of the table without a look at the hub; "" of other addresses and small models."""
    known = NAMES.get(address.base) if address.kind == "short" else None
    if known is None or not isinstance(address, ModelAddress):
        return ""
    sizes = _sizes(address, known.download_bytes(address.tag or ""))
    return sizes and f"{known.parameters_b:.3g} billion parameters, licence {known.licence}; about {sizes}"


def _say(address: ModelAddress | EmbedderAddress, what: str) -> None:
    if what:
        _log.warning("%s: %s", address.hub_id, what)


def _sizes(address: ModelAddress | EmbedderAddress, size_bytes: float) -> str:
    """What is to be downloaded, what its weights take, and whether that is free; "" where it is little."""
    if size_bytes < _WORTH_SAYING or not isinstance(address, ModelAddress):
        return ""
    needed = size_bytes * _PACKED_SHARE.get(address.tag or "", 1.0)
    free = main_memory().free_bytes
    verdict = "" if needed < free else f", which they do not fit into; {_SMALLER}"
    return (
        f"{size_bytes / 1e9:.1f} GB to download; its weights take about {needed / 1e9:.1f} GB of memory, "
        f"{free / 1e9:.1f} GB are free here{verdict}"
    )


def _client(source: Source) -> download.Hub:
    if source == "modelscope":
        from weightwright.hub.modelscope import ModelScope

        return ModelScope()
    from weightwright.hub.huggingface import HuggingFace

    return HuggingFace()


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())
