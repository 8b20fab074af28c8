"""Weights that only pickle files hold (`pytorch_model.bin`) become safetensors, once, and none of their code runs.

A child process reads them (see `unpickling`); what it writes is held against the index before it is put in place.
"""

import hashlib
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.files import whole_folder, write_whole
from weightwright.home import home
from weightwright.hub import weight_files
from weightwright.ports import Progress, silent

INDEX, CONVERTED_INDEX = "pytorch_model.bin.index.json", "model.safetensors.index.json"
_PICKLED = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin")
_SMALL = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken", ".md")
_MEMORY_BYTES = 2_000_000_000  # of the child, beside twice the file: torch itself takes a quarter of it
_CPU_S, _BYTES_PER_CPU_S = 120, 20_000_000
_WALL = 5  # times the CPU time: disks are slow, machines busy
_NOTE = "converted.json"  # in a converted folder: what it was made from
_told = logging.getLogger("weightwright.progress")


def is_pickled(name: str) -> bool:
    """Whether this is the name of a model's weights in pickle, or of a part of them."""
    return _PICKLED.fullmatch(name) is not None


def converted_name(name: str) -> str:
    """What such a file is called as safetensors."""
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"


def kept_name(name: str) -> str:
    """What a file of a repository is called in the store, where pickle is not kept."""
    return converted_name(name) if is_pickled(name) else name


def chosen(names: Sequence[str]) -> list[str]:
    """The pickle files that together are the model: the whole one where there is one."""
    pickled = sorted(filter(is_pickled, names))
    return ["pytorch_model.bin"] if "pytorch_model.bin" in pickled else pickled


def converted_folder(folder: Path, progress: Progress = silent) -> Path:
    """A folder's own path, or where it holds its weights in pickle alone, that of its conversion in the store.

    Made at the first call. Raises ModelError where the weights cannot be converted.
    """
    names = only_pickled(folder)
    if not names:
        return folder
    target = _place(folder, names)
    if not target.is_dir():
        _told.info("%s holds its weights in pickle files; converting them once, to %s", folder, target)
        with whole_folder(target, shared=True) as beside:
            index = folder / INDEX if len(names) > 1 else None
            convert_all({name: folder / name for name in names}, beside, index, beside, progress)
            write_whole(beside / _NOTE, json.dumps({"converted_from": str(folder.resolve())}))
    for file in folder.iterdir():  # as they are now: a person may have mended one
        if file.suffix in _SMALL and file.is_file() and file.name != INDEX:
            there = target / file.name
            if not there.is_file() or there.read_bytes() != file.read_bytes():
                write_whole(there, file.read_bytes())
    return target


def only_pickled(folder: Path) -> list[str]:
    """The pickle files that are all the weights of a folder; none where it has others."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return []
    return chosen([path.name for path in folder.iterdir()])


def conversion_of(folder: Path) -> Path | None:
    """Where a folder's weights were converted to, if they were."""
    names = only_pickled(folder)
    target = _place(folder, names) if names else folder
    return target if names and target.is_dir() else None


def conversions() -> Iterator[tuple[str, Path]]:
    """The folders that were converted, each with what it was converted to."""
    for note in sorted(_store().glob(f"*/*/{_NOTE}")):
        yield str(weight_files.read_json(note).get("converted_from")), note.parent


def _store() -> Path:
    return home() / "models" / "converted"


def _place(folder: Path, names: Sequence[str]) -> Path:
    lines = "".join(f"{name} {weight_files.sha256_kept(folder / name)}\n" for name in names)
    return _store() / hashlib.sha256(lines.encode()).hexdigest()[:16] / folder.resolve().name


def convert_all(
    sources: Mapping[str, Path], into: Path, index: Path | None, kept: Path, progress: Progress = silent
) -> dict[str, Path]:
    """Convert files, each under its own name, into a folder; what was written there, by name.

    With an `index` they are held against it, together with those that are in the folder `kept` already, and the index
    is written for the new names. Raises ModelError.
    """
    made = {}
    for done, (name, source) in enumerate(sources.items()):
        progress(done, len(sources), name)
        made[converted_name(name)] = into / converted_name(name)
        convert(name, source, made[converted_name(name)])
    if made and index is not None:
        values = _read_index(index)
        files = sorted(set(values["weight_map"].values()))
        _check_index(index.name, values["weight_map"], [made.get(name) or kept / name for name in files])
        made[CONVERTED_INDEX] = into / CONVERTED_INDEX
        write_whole(made[CONVERTED_INDEX], json.dumps(values, indent=1))
    return made


def convert(name: str, source: Path, target: Path) -> None:
    """Write the tensors of a pickle file as safetensors. Raises ModelError; nothing stays then."""
    size = source.stat().st_size
    cpu_s = _CPU_S + size // _BYTES_PER_CPU_S
    command = (
        sys.executable, "-m", "weightwright.hub.unpickling", str(source), str(target), str(_MEMORY_BYTES + 2 * size),
        str(cpu_s),
    )  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WALL * cpu_s, check=False)
    except subprocess.TimeoutExpired as error:
        target.unlink(missing_ok=True)
        raise ModelError(f"{name} was not read within {_WALL * cpu_s:,} s; get it again") from error
    if done.returncode:
        target.unlink(missing_ok=True)
        raise ModelError(
            f"{source} {_why(done)}; it was not converted (look for a safetensors or GGUF version)"
        )


def _why(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stdout.splitlines()
    if done.returncode == 1 and lines and lines[-1].startswith("{"):
        return str(json.loads(lines[-1])["error"])
    rest = done.stderr.strip().splitlines()
    if done.returncode < 0:
        return f"took more memory or time than its size allows (signal {-done.returncode})"
    return f"could not be read: {rest[-1] if rest else f'exit status {done.returncode}'}"


def _read_index(index: Path) -> dict[str, Any]:
    """An index with the names of the converted files. Raises ModelError."""
    values = weight_files.read_json(index)
    said = values.get("weight_map")
    if not isinstance(said, dict) or not all(
        isinstance(file, str) and is_pickled(file) for file in said.values()
    ):
        raise ModelError(
            f"{index.name} has no weight_map of pytorch_model files; pull or copy the model again"
        )
    return values | {"weight_map": {name: converted_name(file) for name, file in said.items()}}


def _check_index(index: str, expected: Mapping[str, str], files: Sequence[Path]) -> None:
    """Hold converted files against their index. Raises ModelError where they differ."""
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelError(f"{index} names {len(missing)} files that are not here, first the source of {missing[0]}; "
                         "pull or copy the model again")  # fmt: skip
    found = {name: file.name for file in files for name in weight_files.safetensors_header(file)}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise ModelError(f"{index} says that {name} is in {expected.get(name, 'no file')}, and it is in "
                         f"{found.get(name, 'none')} ({len(wrong)} such); pull or copy the model again")  # fmt: skip
