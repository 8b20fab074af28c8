"""Weights that only pickle files hold (`pytorch_model.bin`) become safetensors, once, and none of their code runs.

A child process reads them (see `unpickling`); what it writes is held against the index before it is put in place.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.files import write_whole
from weightwright.hub import weight_files
from weightwright.ports import Progress, silent

INDEX, CONVERTED_INDEX = "pytorch_model.bin.index.json", "model.safetensors.index.json"
_WHOLE = "pytorch_model.bin"
_PICKLED = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin")
_MEMORY_BYTES = 2_000_000_000  # of the child, beside twice the file: torch itself takes a quarter of it
_CPU_S, _BYTES_PER_CPU_S = 120, 20_000_000
_WALL = 5  # times the CPU time: disks are slow, machines busy


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
    return [_WHOLE] if _WHOLE in pickled else pickled


def only_pickled(folder: Path) -> list[str]:
    """The pickle files that are all the weights of a folder; none where it has others."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return []
    return chosen([path.name for path in folder.iterdir()])


def convert_all(
    owner: str, sources: Mapping[str, Path], names: Sequence[str], into: Path, index: Path | None, kept: Path,
    progress: Progress = silent,
) -> dict[str, Path]:  # fmt: skip
    """Convert files, each under its own name, into a folder; what was written there, by name.

    `names` are all files of the `owner`, a folder or a hub id; those that are not among the `sources` stand converted
    in the folder `kept`. Several are held against the `index`, where it is there, and get one. Raises ModelError.
    """
    made = {}
    for done, (name, source) in enumerate(sources.items()):
        progress(done, len(sources), name)
        made[converted_name(name)] = into / converted_name(name)
        convert(f"{owner}/{name}", source, made[converted_name(name)])
    if made and list(names) != [_WHOLE]:
        files = {file: made.get(file) or kept / file for file in map(converted_name, names)}
        made[CONVERTED_INDEX] = into / CONVERTED_INDEX
        write_whole(made[CONVERTED_INDEX], json.dumps(_index(owner, files, index), indent=1))
    return made


def convert(name: str, source: Path, target: Path) -> None:
    """Write the tensors of a pickle file as safetensors. Raises ModelError; nothing stays then."""
    size = source.stat().st_size
    cpu_s = _CPU_S + size // _BYTES_PER_CPU_S
    limits = str(_MEMORY_BYTES + 2 * size), str(cpu_s)
    command = (sys.executable, "-m", "weightwright.hub.unpickling", str(source), str(target), *limits)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WALL * cpu_s, check=False)
    except subprocess.TimeoutExpired as error:
        target.unlink(missing_ok=True)
        raise ModelError(f"{name} was not read within {_WALL * cpu_s:,} s; get it again") from error
    if done.returncode:
        target.unlink(missing_ok=True)
        raise ModelError(f"{name} {_why(done)}; it was not converted (look for safetensors or GGUF)")


def _why(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stdout.splitlines()
    if done.returncode == 1 and lines and lines[-1].startswith("{"):
        return str(json.loads(lines[-1])["error"])
    rest = done.stderr.strip().splitlines()
    if done.returncode < 0:
        return f"took more memory or time than its size allows (signal {-done.returncode})"
    return f"could not be read: {rest[-1] if rest else f'exit status {done.returncode}'}"


def _index(owner: str, files: Mapping[str, Path], index: Path | None) -> dict[str, Any]:
    """The index of converted files by name, held against that of their sources. Raises ModelError."""
    found = {name: file for file, path in files.items() for name in weight_files.safetensors_header(path)}
    if index is None or not index.is_file():
        parts = int(next(iter(files)).rpartition("-of-")[2].removesuffix(".safetensors"))
        if parts != len(files):
            raise ModelError(
                f"{owner} has {len(files)} of {parts} weight files; pull or copy the model again"
            )
        return {"metadata": {}, "weight_map": found}
    values = weight_files.read_json(index)
    said = values.get("weight_map")
    if not isinstance(said, dict) or not all(isinstance(file, str) for file in said.values()):
        raise ModelError(f"{owner}/{INDEX} has no weight_map; pull or copy the model again")
    expected = {name: converted_name(file) for name, file in said.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise ModelError(f"{owner}/{INDEX} says that {name} is in {expected.get(name, 'no file')}, and it is in "
                         f"{found.get(name, 'none')} ({len(wrong)} such); pull or copy the model again")  # fmt: skip
    return {"metadata": {}} | values | {"weight_map": expected}  # transformers wants both
