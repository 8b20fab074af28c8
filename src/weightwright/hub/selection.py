"""Which files of a repository a model needs: weights without pickle, tokenizer, config, template."""

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath

from weightwright.address.models import EmbedderAddress, ModelAddress
from weightwright.errors import DownloadError
from weightwright.hub import pickled, weight_files
from weightwright.hub.store import gguf_for
from weightwright.hub.weight_files import PICKLE_SUFFIXES

# beside the weights; *.py runs only when the user trusts it (--trust-remote-code)
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.py", "*.tiktoken", "README.md", "LICENSE*",
               "LICENCE*", "additional_chat_templates/*.jinja", "[0-9]_*/*.json")  # fmt: skip
CARD_FILES = ("README.md", "LICENSE*", "LICENCE*")
WEIGHTS = ("*.safetensors", "[0-9]_*/*.safetensors")
# another layout of the same weights, for the author's own code
DUPLICATES = ("consolidated*.safetensors",)
_CUT = re.compile(r"\.gguf\.part\d+of\d+$", re.IGNORECASE)


def needed(names: Sequence[str], address: ModelAddress | EmbedderAddress, hub_id: str) -> list[str]:
    """The files to download, sorted. Raises DownloadError saying why there are none to be had."""
    tag = address.tag if isinstance(address, ModelAddress) else None
    quantized = isinstance(address, ModelAddress) and address.quantization is not None
    weights = [name for name in names if _matches(name, WEIGHTS)]
    plain = [name for name in weights if not _matches(name, DUPLICATES)]
    if not weights and not quantized and gguf_for(names, None) is None:
        weights = pickled.chosen(names)  # converted as they arrive
    if (plain or weights) and not quantized:
        chosen = [name for name in names if _matches(name, SMALL_FILES)] + (plain or weights)
    else:
        chosen = [name for name in names if _matches(name, CARD_FILES)] + _gguf(names, tag, hub_id)
    for name in chosen:
        require_inside(name, hub_id)
    return sorted(set(chosen))


def require_inside(name: str, hub_id: str) -> None:
    """Raise DownloadError for a file name that would lead out of the folder it is put into."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in windows.parts
    if outside or not name.isprintable() or "\\" in name or not posix.parts:
        raise DownloadError(
            f"{hub_id} names a file {name!r} that would lie outside its folder; nothing was written"
        )


def _gguf(names: Sequence[str], tag: str | None, hub_id: str) -> list[str]:
    """The parts of the GGUF file for a tag, or of the preferred one. Raises DownloadError listing what there is."""
    chosen = gguf_for(names, tag) or (
        gguf_for(names, None) if tag in ("bf16", "f32", "int8", "int4") else None
    )
    if chosen is not None:
        parts = [part.as_posix() for part in weight_files.gguf_parts(Path(chosen))]
        if lost := [part for part in parts if part not in names]:
            raise DownloadError(f"{hub_id}: {chosen} is one of {len(parts)} parts, and {lost[0]} is missing")
        return parts
    there = sorted(PurePosixPath(name).name for name in names if name.lower().endswith(".gguf"))
    if there:
        shown = ", ".join(there[:8]) + (", …" if len(there) > 8 else "")
        raise DownloadError(
            f"{hub_id} has no GGUF file for {tag or 'an address without a tag'}; there are: {shown}"
        )
    cut = [name for name in names if _CUT.search(name)]
    if cut:
        raise DownloadError(f"{hub_id} has GGUF files that were cut by bytes ({cut[0]}); download the parts, join "
                            "them (cat PART1 PART2 > model.gguf) and give the path")  # fmt: skip
    unknown = [name for name in names if name.endswith(PICKLE_SUFFIXES)]
    if unknown:
        raise DownloadError(f"{hub_id} has only pickle files of another kind ({unknown[0]}) than "
                            "pytorch_model.bin, which is converted; look for safetensors or GGUF")  # fmt: skip
    wanted = f"GGUF file for {tag}" if tag else "weights (*.safetensors or *.gguf)"
    raise DownloadError(f"{hub_id} has no {wanted}; is it a model that generates text?")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches a pattern of as many folders: `*` does not reach into folders."""
    return any(
        name.count("/") == pattern.count("/") and fnmatch(name.lower(), pattern.lower())
        for pattern in patterns
    )
