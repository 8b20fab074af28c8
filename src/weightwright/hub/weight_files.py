"""Weight files on disk: which there are, whether they are whole, and a fingerprint of them."""

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.files import write_whole
from weightwright.home import cache

GGUF_MAGIC = b"GGUF"
GGUF_VERSIONS = (2, 3)
GGUF_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HEADER_LIMIT_BYTES = 100_000_000  # the safetensors format's own limit
_READ_BYTES = 1 << 20
# files that change what a model answers, beside its weights
_MEANING = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "vocab.json",
            "merges.txt", "tokenizer_config.json", "chat_template.jinja", "chat_template.json")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a safetensors file: its type as the file names it (`BF16`), its shape, its first byte."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def weight_files(path: Path) -> list[Path]:
    """The files that hold a model's weights: the GGUF file itself with its other parts, or a folder's safetensors.

    Raises ModelError when there are none, when one that the index names is missing, or when there
    are only pickle files, which can run code and are not read.
    """
    if path.is_file():
        parts = gguf_parts(path)
        lost = [part.name for part in parts if not part.is_file()]
        if lost:
            raise ModelError(f"{path} lacks {len(lost)} of its {len(parts)} parts, first {lost[0]}; "
                             "pull or copy the model again")  # fmt: skip
        return parts
    index = path / "model.safetensors.index.json"
    if index.is_file():
        named = sorted(set(read_json(index).get("weight_map", {}).values()))
        missing = [name for name in named if not (path / name).is_file()]
        if missing:
            raise ModelError(f"{path} lacks {len(missing)} of {len(named)} weight files, first {missing[0]}; "
                             "pull or copy the model again")  # fmt: skip
        return [path / name for name in named]
    files = sorted(path.glob("*.safetensors"))
    if files:
        single = [file for file in files if file.name == "model.safetensors"]
        return single or files
    pickled = sorted(file.name for file in path.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if pickled:
        if pickled[0].startswith("pytorch_model"):
            raise ModelError(f"{path} holds its weights in pickle files ({pickled[0]}); run weightwright pull "
                             f"{path}, which converts them once")  # fmt: skip
        raise ModelError(f"{path} holds only pickle weights ({pickled[0]}), which can run code when read; "
                         "convert them to safetensors, or use a safetensors or GGUF version")  # fmt: skip
    raise ModelError(f"{path} holds no weights (*.safetensors); pull or copy the model again")


def gguf_parts(path: Path) -> list[Path]:
    """The parts that a split GGUF file (`…-00001-of-00003.gguf`) has, first to last; another file is its only one."""
    found = GGUF_PART.search(path.name)
    if found is None:
        return [path]
    stem, count = path.name[: found.start()], found[2]
    return [path.with_name(f"{stem}-{n:05d}-of-{count}.gguf") for n in range(1, int(count) + 1)]


def check_whole(file: Path) -> None:
    """Raise ModelError where a weight file is cut off or is not what its name says."""
    if file.suffix == ".gguf":
        with file.open("rb") as stream:
            start = stream.read(8)
        if len(start) < 8 or start[:4] != GGUF_MAGIC:
            raise ModelError(f"{file} is not a GGUF file: it begins with {start[:4]!r}; get it again")
        version = struct.unpack("<I", start[4:])[0]
        if version not in GGUF_VERSIONS:
            raise ModelError(f"{file} is GGUF version {version}; versions {GGUF_VERSIONS} can be read")
    else:
        safetensors_header(file)


def safetensors_header(file: Path) -> dict[str, Tensor]:
    """The tensors that a safetensors file declares. Raises ModelError where it is broken or cut off."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, _HEADER_LIMIT_BYTES):
            raise ModelError(f"{file} is no whole safetensors file ({size:,} bytes); get it again")
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            tensors = {
                name: Tensor(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
                for name, entry in header.items()
            }
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ModelError(f"{file} has a broken header ({error}); get it again") from error
    if 8 + length + end != size:
        raise ModelError(f"{file} should have {8 + length + end:,} bytes and has {size:,}; get it again")
    return tensors


def fingerprint(path: Path) -> str:
    """A hash, 16 hex digits, of everything that changes a model's answers: weights, config, tokenizer.

    Each file is hashed once; the result is kept under WEIGHTWRIGHT_HOME by path, size and time.
    """
    files = weight_files(path)
    if path.is_dir():
        files += [path / name for name in _MEANING if (path / name).is_file()]
    lines = "".join(f"{file.name} {sha256_kept(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def sha256_kept(file: Path) -> str:
    """The file's sha256, from the note of an earlier run while size and time are the same."""
    stat = file.stat()
    key = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]
    note = cache() / "fingerprints" / f"{key}.json"
    state = [stat.st_size, stat.st_mtime_ns]
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return str(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note, or one that was cut off: hash the file again
    digest = sha256_of(file)
    write_whole(note, json.dumps({"path": str(file), "state": state, "sha256": digest}))
    return digest


def sha256_of(file: Path) -> str:
    """The file's sha256 in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelError where it cannot be read."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON: {error}; pull or copy the model again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} must hold a JSON object, found {type(values).__name__}")
    return values
