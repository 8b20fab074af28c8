"""The models on this machine: the store under WEIGHTWRIGHT_HOME, packages, and the user's hub cache."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from weightwright.address import packages
from weightwright.address.models import EmbedderAddress, ModelAddress, parse_model
from weightwright.address.names import NAMES
from weightwright.errors import ModelError
from weightwright.files import remove_whole, write_whole
from weightwright.home import home
from weightwright.hub import ollama
from weightwright.hub.converted import conversion_of, place_of
from weightwright.hub.weight_files import GGUF_PART, gguf_parts

Source = Literal["huggingface", "modelscope"]
SOURCES: tuple[Source, ...] = get_args(Source)
MANIFEST = "weightwright.json"

# which GGUF file stands for a repository when no tag says it, best first
GGUF_PREFERENCE = ("Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "Q5_K_M", "Q6_K", "Q8_0", "BF16", "F16", "F32")

# one of these is in every model's folder
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tiktoken.model",
    "qwen.tiktoken",
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a stored model: bytes, the sha256 that was checked, and that of the file that it was made from."""

    size_bytes: int
    sha256: str
    source_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store: what the manifest, written when all its files were whole, says."""

    hub_id: str
    source: Source
    commit: str
    folder: Path
    files: Mapping[str, StoredFile]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files.values())


def folder_of(hub_id: str, source: Source) -> Path:
    """The store's folder for a hub id. Raises ModelError for one that would lead out of the store."""
    root = home() / "models" / source
    folder = root / hub_id
    parts = hub_id.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise ModelError(f"{hub_id!r} is not a hub id OWNER/NAME")
    return folder


def locate(address: str | ModelAddress | EmbedderAddress) -> Path | None:
    """Where the files of a model or an embedder are on this machine: a folder, or one GGUF file.

    None when they are not here, or not whole. Nothing is read from the network.
    """
    if isinstance(address, str):
        address = parse_model(address)
    if address.path is not None:
        return choose(address.path, address) if address.path.exists() else None
    if address.kind == "short":
        packaged = _packaged(address)
        path = packages.files_of(packaged) if packaged else _of_ollama(address)
        if path is not None and (packaged is None or _fits(path, address)):
            return path
    if address.hub_id is None:
        return None
    for source in SOURCES:
        stored = read_manifest(folder_of(address.hub_id, source))
        chosen = choose(stored.folder, address) if stored else None
        if chosen is not None:
            return chosen
    cached = hub_cache_snapshot(address.hub_id)
    chosen = choose(cached, address) if cached else None
    return chosen if chosen and (chosen.is_file() or _has_tokenizer(chosen)) else None


def hub_cache_snapshot(hub_id: str) -> Path | None:
    """The newest whole snapshot of `hub_id` in the Hugging Face cache that the user already has."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    snapshot = repository / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def list_models() -> list[StoredModel]:
    """All whole models in the store, by hub id."""
    models = []
    for source in SOURCES:
        for manifest in (home() / "models" / source).glob(f"*/*/{MANIFEST}"):
            stored = read_manifest(manifest.parent)
            if stored is not None:
                models.append(stored)
    return sorted(models, key=lambda stored: (stored.hub_id.lower(), stored.source))


def remove(address: str | ModelAddress | EmbedderAddress) -> int:
    """Delete a model from the store and return the bytes freed.

    Raises ModelError where it is not in the store: a package, a folder of the user's own, the
    Hugging Face cache, or nowhere.
    """
    if isinstance(address, str):
        address = parse_model(address)
    if address.path is not None and (converted := conversion_of(address.path)) is not None:
        return _removed(converted)
    if address.kind not in ("hub", "short"):
        raise ModelError(f"{address} is not in the store; only models that were pulled can be removed")
    if address.hub_id is None:
        raise ModelError(f"{address} has no hub id")
    folders = [folder for source in SOURCES if (folder := folder_of(address.hub_id, source)).is_dir()]
    if not folders:
        raise ModelError(_why_not_removable(address))
    freed = sum(_remove_from(folder, address) for folder in folders)
    if not freed:
        raise ModelError(f"{address} is not in the store; weightwright list shows what is")
    return freed


def read_manifest(folder: Path) -> StoredModel | None:
    """The manifest of a stored model; None where it is missing, broken, or a file it names is not whole."""
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {
            name: StoredFile(int(entry["size_bytes"]), str(entry["sha256"]), entry.get("source_sha256"))
            for name, entry in values["files"].items()
        }
        stored = StoredModel(values["hub_id"], values["source"], values["commit"], folder, files)
        whole = all((folder / name).stat().st_size == file.size_bytes for name, file in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # an unfinished or damaged folder is as good as absent: pull completes it
    return stored if whole else None


def write_manifest(stored: StoredModel) -> None:
    """Write the manifest, the last step of a pull."""
    values: dict[str, Any] = {
        "hub_id": stored.hub_id,
        "source": stored.source,
        "commit": stored.commit,
        "files": {
            name: {key: value for key, value in asdict(file).items() if value is not None}
            for name, file in sorted(stored.files.items())
        },
    }
    write_whole(stored.folder / MANIFEST, json.dumps(values, indent=1) + "\n")


def gguf_for(names: Sequence[str], tag: str | None) -> str | None:
    """The GGUF file of a repository that `tag` names, or without a tag the preferred one."""
    files = sorted(name for name in names if name.lower().endswith(".gguf") and "mmproj" not in name.lower())
    files = [name for name in files if gguf_parts(Path(name))[0].as_posix() == name]  # of parts the first
    for wanted in (tag,) if tag else GGUF_PREFERENCE:
        matching = [name for name in files if _has_tag(name, wanted)]
        if matching:
            return min(matching, key=len)
    return files[0] if len(files) == 1 and tag is None else None


def _packaged(address: ModelAddress | EmbedderAddress) -> packages.Packaged | None:
    table = packages.EMBEDDERS if isinstance(address, EmbedderAddress) else packages.MODELS
    return table.get(address.base)


def _of_ollama(address: ModelAddress | EmbedderAddress) -> Path | None:
    """What an Ollama store holds under a short name, where its usual 4 bits are asked for."""
    usual = isinstance(address, ModelAddress) and address.tag == NAMES[address.base].tag("")
    return ollama.file_of(address.base) if usual else None


def _has_tag(name: str, tag: str) -> bool:
    """Whether `Model-Q4_K_M.gguf` or `model.q4_k_m.gguf` carries the tag as a whole word."""
    stem = GGUF_PART.sub("", name.rsplit("/", 1)[-1]).lower().removesuffix(".gguf")
    words = f"-{stem}-".replace(".", "-")
    unsloth = f"-ud-{tag.lower()}-"
    return f"-{tag.lower()}-" in words and (tag.upper().startswith("UD-") or unsloth not in words)


def choose(path: Path, address: ModelAddress | EmbedderAddress) -> Path | None:
    """The folder itself when it holds safetensors, else its GGUF file that the tag asks for."""
    if path.is_file():
        first = gguf_parts(path)[0]
        return first if first.is_file() else path
    names = [file.relative_to(path).as_posix() for file in path.rglob("*.gguf")]
    tag = address.tag if isinstance(address, ModelAddress) else None
    if isinstance(address, ModelAddress) and address.quantization:
        chosen = gguf_for(names, tag)
        return path / chosen if chosen else None
    if address.path is not None and not names:
        return path  # the user's own folder: loading says what is missing in it
    if (path / "config.json").is_file() and _weights_whole(path):
        return path
    chosen = gguf_for(names, tag) if tag in ("bf16", "f32") else None
    chosen = chosen or gguf_for(names, None)
    if chosen:
        return path / chosen
    return path if address.path is not None else None


def _has_tokenizer(folder: Path) -> bool:
    """Whether a snapshot in the user's cache, which may be part of one, holds a tokenizer."""
    return any((folder / name).exists() for name in TOKENIZER_FILES)


def _weights_whole(folder: Path) -> bool:
    """Whether the safetensors files that the index names, or any where there is none, are here."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all((folder / name).is_file() for name in named)


def _fits(path: Path, address: ModelAddress | EmbedderAddress) -> bool:
    """Whether a package's file is of the quantisation that the address asks for, if it does."""
    wanted = address.quantization if isinstance(address, ModelAddress) else None
    return wanted is None or _has_tag(path.name, wanted)


def _why_not_removable(address: ModelAddress | EmbedderAddress) -> str:
    if address.kind == "short":
        packaged = _packaged(address)
        if packaged and packages.files_of(packaged) is not None:
            return (f"{address.base} comes from the Python package {packaged.distribution}; to remove it, "
                    f"run: "
                    f"pip uninstall {packaged.distribution}")  # fmt: skip
    if address.hub_id and hub_cache_snapshot(address.hub_id) is not None:
        return (f"{address.hub_id} is in your Hugging Face cache, not in weightwright's store; to remove it, "
                f"run: hf cache rm model/{address.hub_id}")  # fmt: skip
    return f"{address.hub_id} is not on this machine; weightwright list shows what is"


def _remove_from(folder: Path, address: ModelAddress | EmbedderAddress) -> int:
    """Delete the whole folder, or only the GGUF file that the tag names; bytes freed."""
    size = _size_bytes(folder)
    stored = read_manifest(folder)
    tag = address.quantization if isinstance(address, ModelAddress) else None
    if tag and stored is not None:
        name = gguf_for(list(stored.files), tag)
        if name is None:
            return 0
        parts = {part.as_posix() for part in gguf_parts(Path(name))}
        rest = {other: file for other, file in stored.files.items() if other not in parts}
        if any(other.endswith((".gguf", ".safetensors")) for other in rest):
            write_manifest(StoredModel(stored.hub_id, stored.source, stored.commit, folder, rest))
            for part in parts:
                (folder / part).unlink()
            return sum(stored.files[part].size_bytes for part in parts)
    (folder / MANIFEST).unlink(missing_ok=True)  # first: a removal that is interrupted leaves no whole model
    size += _removed(place_of(folder))
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return size


def _removed(folder: Path) -> int:
    """Remove a folder, if it is there; bytes freed."""
    size = _size_bytes(folder)
    remove_whole(folder)
    return size


def _size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def disk() -> dict[str, Any]:
    """What the models of this store take, and what is free beside them, as one JSON-able mapping."""
    place = home()
    existing = next((folder for folder in (place, *place.parents) if folder.is_dir()), Path("/"))
    stored = list_models()
    return {
        "path": str(place),
        "free_bytes": shutil.disk_usage(existing).free,
        "models": len(stored),
        "models_bytes": sum(model.size_bytes for model in stored),
    }
