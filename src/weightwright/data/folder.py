"""Which files of a folder are rows to learn from: those of known kinds, but for splits held out, copies and the like.

What is left out is named with the reason, never passed over. Splits are known as the datasets library knows them: by
words in the names of files and folders, or by the `configs:` of a data set's README.md.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weightwright.data.compressed import ARCHIVES, open_data, suffix_of
from weightwright.data.row import INFO_FILE
from weightwright.errors import DataError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
Split = Literal["train", "validation", "test"]
_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_HELD_OUT = re.compile(r"(?<![a-z])(held|hold)[-_. ]?out(?![a-z])")
_NO_ROWS = ("README", "LICENSE", "LICENCE", "NOTICE", "CHANGELOG", "REQUIREMENTS.TXT")
_DESCRIPTIONS = (
    INFO_FILE,
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
)  # of the datasets library
_PEEKED_BYTES = 1_000_000  # a description of rows is no larger


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file of a folder that is not read, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path} is left out: {self.why}"

    def to_json(self) -> dict[str, str]:
        """As the command line prints it."""
        return {"file": str(self.path), "why": self.why}


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a folder that are read, in the order of their names, and those that are not."""

    read: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()


def files_in(folder: Path, *, held_out: bool = False) -> Files:
    """The files of rows in a folder and its subfolders; `held_out` takes the splits that are not for training.

    Raises DataError where there is none, or a link leads nowhere.
    """
    read: list[Path] = []
    left: list[LeftOut] = []
    for path in _walk(folder, left):
        why = _no_rows(path)
        if why:
            left.append(LeftOut(path, why))
        else:
            read.append(path)
    read = _once_each(read, left)
    read = _of_split(folder, read, left, held_out=held_out)
    if not read:
        found = "; ".join(map(str, left[:5])) or "no file"
        raise DataError(folder, f"is a directory without rows to read ({', '.join(SUFFIXES)}), found {found}")
    return Files(tuple(read), tuple(sorted(left, key=lambda one: one.path)))


def say_left_out(left_out: Sequence[LeftOut]) -> list[str]:
    """Lines about files that are not read, those of one reason together."""
    by_reason: dict[str, list[Path]] = {}
    for one in left_out:
        by_reason.setdefault(one.why, []).append(one.path)
    lines = []
    for why, paths in by_reason.items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        lines.append(f"left out: {', '.join(map(str, paths[:3]))}{more}: {why}")
    return lines


def _walk(folder: Path, left: list[LeftOut]) -> Iterator[Path]:
    """The files of a folder and its subfolders by name; hidden ones, and folders met before, are left out."""
    seen = {folder.resolve()}
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop(0).iterdir()):
            if path.name.startswith("."):
                left.append(LeftOut(path, "it is hidden"))
            elif path.is_file() or (path.is_symlink() and not path.exists()):
                yield path
            elif not path.is_dir():
                left.append(LeftOut(path, "it is no file"))
            elif path.resolve() in seen:
                left.append(LeftOut(path, f"it is a link to {path.resolve()}, which is read already"))
            else:
                seen.add(path.resolve())
                waiting.append(path)


def _no_rows(path: Path) -> str:
    """Why a file is none of rows; "" where it is one."""
    if path.name.upper().startswith(_NO_ROWS):
        return "it tells about the rows"
    suffix = suffix_of(path)
    if path.suffix.lower() in ARCHIVES or suffix in ARCHIVES:
        return "it is an archive or a spreadsheet; unpack it, or save it as .csv"
    if suffix not in SUFFIXES:
        return f"no rows are read from {f'files called {suffix}' if suffix else 'files without a suffix'}"
    if not path.exists():
        raise DataError(
            path, f"is a link to {path.readlink()}, which does not exist; fetch it, or remove the link"
        )
    if path.name in _DESCRIPTIONS:
        return "it tells about the rows"
    if _is_blank(path):
        return "it is empty"
    fields = _description(path) if suffix == ".json" else None
    return "" if fields is None else f"it is one object that is no row (fields {', '.join(fields) or 'none'})"


def _is_blank(path: Path) -> bool:
    if suffix_of(path) in (".parquet", ".arrow"):
        return path.stat().st_size == 0
    with open_data(path) as file:
        return not any(line.strip(b"\xef\xbb\xbf \t\r\n\0") for line in file)


def _description(path: Path) -> tuple[str, ...] | None:
    """The fields of a file that is one object without rows in it; None where it is anything else."""
    if path.stat().st_size > _PEEKED_BYTES:
        return None
    try:
        with open_data(path) as file:
            value = json.loads(file.read())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    from weightwright.data.build import has_format
    from weightwright.data.jsonobjects import rows_inside

    return None if has_format(value) or rows_inside(value, path) else tuple(map(str, value))


def _once_each(paths: list[Path], left: list[LeftOut]) -> list[Path]:
    """The files without those that hold the same bytes as an earlier one."""
    by_size: dict[int, list[Path]] = {}
    kept = []
    for path in paths:
        alike = by_size.setdefault(path.stat().st_size, [])
        same = next((one for one in alike if _digest(one) == _digest(path)), None)
        if same is None:
            alike.append(path)
            kept.append(path)
        else:
            left.append(LeftOut(path, f"it is the same file as {same}"))
    return kept


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# -- splits ----------------------------------------------------------------------------------------


def split_of(path: Path) -> Split | None:
    """The split that a file's name or one of its folders' names; None where no word of them does."""
    names = (_HELD_OUT.sub("test", part.lower()) for part in path.parts)
    words = [word for name in names for word in re.split(r"[-._ 0-9]+", name)]
    return next((split for split, known in _WORDS.items() if any(word in known for word in words)), None)


def held_out_split(path: Path) -> bool:
    """Whether a file calls itself a split that is not for training."""
    return split_of(path) in ("validation", "test")


def _of_split(folder: Path, paths: list[Path], left: list[LeftOut], *, held_out: bool) -> list[Path]:
    """The files to learn from, or those held out."""
    named = _configured(folder, paths, left)
    splits = {path: named[path] if path in named else split_of(path.relative_to(folder)) for path in paths}
    if named:
        left += [
            LeftOut(path, "README.md does not name it in its configs") for path in paths if path not in named
        ]
        paths = [path for path in paths if path in named]
    if not held_out:
        apart = [path for path in paths if splits[path] in ("validation", "test")]
        if len(apart) == len(paths) and paths:
            unmatched = [
                one.why for one in left if one.path == folder / "README.md" and one.why.startswith("no file")
            ]
            raise DataError(
                folder,
                f"holds rows of a {splits[apart[0]]} split only, which are not learnt from; to learn from them "
                f"nevertheless name the files, such as {apart[0]}" + "".join(f"; {why}" for why in unmatched),
            )
        left += [
            LeftOut(
                path,
                f"it is of a {splits[path]} split, which --eval-data {folder} reads",
            )
            for path in apart
        ]
        return [path for path in paths if path not in apart]
    wanted = next((split for split in ("validation", "test") if split in splits.values()), None)
    if wanted is None:
        return paths
    left += [
        LeftOut(path, f"it is of no {wanted} split, which is held out")
        for path in paths
        if splits[path] != wanted
    ]
    return [path for path in paths if splits[path] == wanted]


def _configured(folder: Path, paths: list[Path], left: list[LeftOut]) -> dict[Path, Split | None]:
    """The splits of files that the head of a README.md names; empty where it names none.

    Raises DataError where it has several configurations of which none is the default.
    """
    configs = _configs(folder / "README.md")
    if not configs:
        return {}
    chosen = next((one for one in configs if one.get("default")), None) or next(
        (one for one in configs if len(configs) == 1 or one.get("config_name") == "default"), None
    )
    if chosen is None:
        names = ", ".join(str(one.get("config_name")) for one in configs)
        raise DataError(
            folder,
            f"holds several data sets by its README.md ({names}); give the files of one, such as those of "
            f"{configs[0].get('config_name')}: {_patterns_said(configs[0])}",
        )
    if len(configs) > 1:
        others = ", ".join(str(one.get("config_name")) for one in configs if one is not chosen)
        left.append(
            LeftOut(folder / "README.md", f"of its configs {chosen.get('config_name')} is read, not {others}")
        )
    found: dict[Path, Split | None] = {}
    for split, pattern in _patterns(chosen):
        matching = _matching(folder, pattern, paths)
        if not matching:
            left.append(
                LeftOut(folder / "README.md", f"no file of rows here matches {pattern!r} of its configs")
            )
        for path in matching:
            found.setdefault(path, split_of(Path(split) if split else path.relative_to(folder)))
    return found


def _matching(folder: Path, pattern: str, paths: Sequence[Path]) -> list[Path]:
    """The files that a pattern of the folder's README.md means, which may be absolute or begin with `./`."""
    base = Path(os.path.normpath(folder.absolute()))
    whole = Path(os.path.normpath(base / pattern))
    if base not in whole.parents:
        return []
    matching = set(folder.glob(str(whole.relative_to(base))))
    return [path for path in paths if path in matching]


def _configs(readme: Path) -> list[dict[str, Any]]:
    """The `configs` with `data_files` or `data_dir` in the head of a data set's README.md."""
    if not readme.is_file():
        return []
    import yaml

    head = re.match(r"---\s*\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        values = yaml.safe_load(head.group(1)) if head else None
    except yaml.YAMLError:
        return []  # a head that cannot be read names no files
    configs = values.get("configs") if isinstance(values, dict) else None
    return [
        one
        for one in configs or []
        if isinstance(one, dict) and (one.get("data_files") or one.get("data_dir"))
    ]


def _patterns(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(split, pattern) of a configuration: `data_files` is a pattern, patterns, or a list of splits with theirs.

    A split of "" is that of the file's own name.
    """
    within = Path(str(config.get("data_dir") or ""))
    given = config.get("data_files")
    if not given:
        return [("", str(within / "**" / "*"))]
    parts = [given] if isinstance(given, str | dict) else given
    found: list[tuple[str, str]] = []
    for part in parts:
        split, patterns = (
            (str(part.get("split", "train")), part.get("path", []))
            if isinstance(part, dict)
            else ("train", part)
        )
        found += [
            (split, str(within / str(one)))
            for one in (patterns if isinstance(patterns, list) else [patterns])
        ]
    return found


def _patterns_said(config: dict[str, Any]) -> str:
    return ", ".join(pattern for _, pattern in _patterns(config))
