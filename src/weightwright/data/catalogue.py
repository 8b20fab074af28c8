"""Where rows are: files, folders, or data sets by name from LLaMA-Factory's `dataset_info.json`.

`FOLDER:name` and `FOLDER:name1,name2` are data sets of the folder's `dataset_info.json`. What exists as it is written
is always a path; only else does the last colon divide a folder from names, and the folder must hold that file.

Schema and meaning: LLaMA-Factory's data/README and `DatasetAttr` (August 2026). With `columns`, a field that is left
out is not read; a row that holds text under its usual name is refused, where LLaMA-Factory loses it without a word.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from weightwright.config import nearest
from weightwright.data.compressed import suffix_of
from weightwright.data.files import fingerprint as _fingerprint
from weightwright.data.files import read_file
from weightwright.data.folder import Files, LeftOut, files_in, held_out_split
from weightwright.data.row import INFO_FILE, PLAIN, Formatting, Layout, OnBroken, Row, kind_of, stop
from weightwright.errors import DataError, Place

T = TypeVar("T")
_logger = logging.getLogger(__name__)

_REMOTE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_HUB_ONLY = ("subset", "folder")
_KEYS = (
    *_REMOTE,
    *_HUB_ONLY,
    "file_name",
    "formatting",
    "ranking",
    "split",
    "num_samples",
    "columns",
    "tags",
)
# their names of columns and what the usual files call them
_COLUMNS = {
    "prompt": "instruction", "query": "input", "response": "output", "history": "history",
    "messages": "conversations", "system": "system", "tools": "tools", "images": "images", "videos": "videos",
    "audios": "audios", "chosen": "chosen", "rejected": "rejected", "kto_tag": "kto_tag",
}  # fmt: skip
_TAGS = (
    "role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Data addresses whose rows are read one after another; of folders `held_out` takes the splits held out."""

    paths: tuple[Path, ...]
    held_out: bool = False

    def __str__(self) -> str:
        first = ", ".join(map(str, self.paths[:3]))
        return first if len(self.paths) <= 3 else f"{first} and {len(self.paths) - 3} more"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one file or data set, all laid out alike; `chosen` are the numbers of those that are read, or all."""

    name: str
    files: tuple[Path, ...]
    layout: Layout = PLAIN
    chosen: NDArray[np.int64] | None = None

    def read(self, broken: OnBroken = stop) -> Iterator[Row]:
        """The rows, one by one; each call opens the files anew. A file that cannot be read is `broken`, too."""
        return self._all(broken) if self.chosen is None else picked(self._all(broken), self.chosen)

    def _all(self, broken: OnBroken) -> Iterator[Row]:
        for file in self.files:
            lines = self.layout != PLAIN and suffix_of(file) == ".txt"
            try:
                for row in read_file(file, self.layout, broken, text_lines=lines):
                    if _reads_all(row, broken):
                        yield row
            except DataError as error:
                broken(error)


def picked(rows: Iterable[T], numbers: Iterable[int]) -> Iterator[T]:
    """The rows with these ascending numbers, as often as each stands there."""
    numbered = enumerate(rows)
    at, row = next(numbered)
    for number in numbers:
        while at < number:
            at, row = next(numbered)
        yield row


def tables_at(where: Path | Source) -> list[Table]:
    """What stands at data addresses, file by file. Raises DataError where there is no such thing."""
    source = _source(where)
    tables: list[Table] = []
    for path in source.paths:
        named = _named_tables(path)
        if named is None:
            tables += [Table(str(file), (file,)) for file in _files(path, source).read]
        else:
            tables += named
    return tables


def left_out(where: Path | Source) -> tuple[LeftOut, ...]:
    """The files that stand at data addresses and are not read. Raises DataError as reading does."""
    source = _source(where)
    return tuple(
        one for path in source.paths if _named_tables(path) is None for one in _files(path, source).left_out
    )


def named_splits(where: Path | Source) -> tuple[Path, ...]:
    """Files of several that were named to learn from, and call themselves a split that is held out."""
    source = _source(where)
    if source.held_out or len(source.paths) < 2:
        return ()
    return tuple(path for path in source.paths if path.is_file() and held_out_split(Path(path.name)))


def fingerprint(where: Path | Source) -> str:
    """A hash that changes with the rows at data addresses, or with how they are read."""
    source = _source(where)
    files: list[Path] = []
    for path in source.paths:
        tables = _named_tables(path)
        if tables is None:
            files += _files(path, source).read
        else:
            files += [_divide(path)[0] / INFO_FILE, *(file for table in tables for file in table.files)]
    return _fingerprint(files)


def _source(where: Path | Source) -> Source:
    return where if isinstance(where, Source) else Source((where,))


def _files(path: Path, source: Source) -> Files:
    if not path.exists():
        raise DataError(path, "does not exist")
    if not path.is_dir():
        return Files((path,))
    if (path / INFO_FILE).is_file() and (names := _names(_read_info(path))):
        listed = ", ".join(names)
        raise DataError(path, f"holds data sets by name; choose: {path}:NAME or {path}:NAME,NAME ({listed})")
    return files_in(path, held_out=source.held_out)


def _names(info: Mapping[str, Any]) -> list[str]:
    """The data sets that a LLaMA-Factory's file names; none where it is the datasets library's own description."""
    return sorted(
        name
        for name, entry in info.items()
        if isinstance(entry, dict) and entry.keys() & {*_REMOTE, "file_name"}
    )


def _divide(path: Path) -> tuple[Path, str]:
    folder, _, names = str(path).rpartition(":")
    return Path(folder), names


def _named_tables(path: Path) -> list[Table] | None:
    """The data sets that an address names, None where it is a path."""
    if ":" not in str(path) or path.exists():
        return None
    folder, names = _divide(path)
    if not folder.is_dir():
        return None
    if not (folder / INFO_FILE).is_file():
        raise DataError(folder, f"has no {INFO_FILE}, so it has no data sets by name: {path}")
    known = _read_info(folder)
    tables = []
    for name in (part.strip() for part in names.split(",")):
        if name not in known:
            raise DataError(Place(str(folder / INFO_FILE)), f"no data set {name!r}{nearest(name, known)}")
        tables.append(_table(folder, name, known[name]))
    return tables


def _read_info(folder: Path) -> dict[str, Any]:
    file = folder / INFO_FILE
    try:
        known = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(file, f"cannot be read: {error}") from error
    if not isinstance(known, dict):
        raise DataError(file, f"must be an object of data sets by name, found {kind_of(known)}")
    return known


def _table(folder: Path, name: str, values: Any) -> Table:
    place = Place(str(folder / INFO_FILE), part=name)
    if not isinstance(values, dict):
        raise DataError(place, f"must be an object, found {kind_of(values)}")
    for key in values:
        if key not in _KEYS:
            raise DataError(place, f"unknown key {key!r}{nearest(key, _KEYS)}")
    if remote := next((key for key in _REMOTE if values.get(key)), None):
        raise DataError(
            place,
            f"{remote} is {values[remote]!r}, which is not on this machine; download its file into "
            f"{folder}, and give it as file_name without {remote}",
        )
    for key in _HUB_ONLY:
        if values.get(key):
            raise DataError(place, f"{key} means something for a hub's data set only; remove it")
    if values.get("split", "train") != "train":
        raise DataError(place, f"split must be train for a file, found {values['split']!r}")
    samples = values.get("num_samples")
    if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool) or samples < 1):
        raise DataError(place, f"num_samples must be a whole number of at least 1, found {samples!r}")
    table = Table(name, _files_of(folder, values, place), _layout(values, place))
    return table if samples is None else _drawn(table, samples)


def _files_of(folder: Path, values: Mapping[str, Any], place: Place) -> tuple[Path, ...]:
    file_name = values.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        raise DataError(place, f"file_name must name a file or a folder, found {kind_of(file_name)}")
    target = folder / file_name
    if not target.exists():
        raise DataError(place, f"its file {target} does not exist")
    if not target.is_dir():
        return (target,)
    files = files_in(target)
    for one in files.left_out:
        _logger.warning(one)
    return files.read


def _layout(values: Mapping[str, Any], place: Place) -> Layout:
    formatting: Formatting = values.get("formatting") or "alpaca"
    if formatting not in get_args(Formatting):
        raise DataError(
            place, f"formatting must be one of {', '.join(get_args(Formatting))}, found {formatting!r}"
        )
    ranking = values.get("ranking") or False
    if not isinstance(ranking, bool):
        raise DataError(place, f"ranking must be true or false, found {kind_of(ranking)}")
    tags = _named(values, "tags", _TAGS, place)
    columns: dict[str, str] | None = None
    if values.get("columns"):
        given = _named(values, "columns", _COLUMNS, place)
        columns = {_COLUMNS[key]: name for key, name in given.items()}
        needed = "prompt" if formatting == "alpaca" else "messages"
        if needed not in given:
            raise DataError(place, f"columns must name {needed!r}: what it leaves out is not read")
    return Layout(formatting=formatting, columns=columns, tags=tags, ranking=ranking)


def _named(values: Mapping[str, Any], key: str, known: Any, place: Place) -> dict[str, str]:
    """`columns` or `tags` as names by known key; null ones are as if left out."""
    given = values.get(key) or {}
    if not isinstance(given, dict):
        raise DataError(place, f"{key} must be an object, found {kind_of(given)}")
    for name, value in given.items():
        if name not in known:
            raise DataError(place, f"unknown name {name!r} in {key}{nearest(name, known)}")
        if not isinstance(value, str | None):
            raise DataError(place, f"{key}.{name} must be a text, found {kind_of(value)}")
    return {name: value for name, value in given.items() if value is not None}


def _reads_all(row: Row, broken: OnBroken) -> bool:
    """Whether no text stands where `columns` does not look; such a row is broken."""
    columns = row.layout.columns
    if columns is None:
        return True
    for key, usual in _COLUMNS.items():
        if usual not in columns and usual not in columns.values() and row.values.get(usual):
            wrong = DataError(
                row.place,
                f"{usual!r} is filled, but columns of {INFO_FILE} does not name it, so it would not "
                f'be read; add "{key}": "{usual}" there, or empty the field',
            )
            broken(wrong)
            return False
    return True


def _drawn(table: Table, wanted: int) -> Table:
    """The table with `wanted` rows, always the same, in order; rows are repeated where there are fewer."""
    count = sum(1 for _ in table.read(lambda _: None))
    if not count:
        return table
    whole, rest = divmod(wanted, count)
    drawn = np.random.default_rng(0).permutation(count)[:rest]
    _logger.warning("%s: num_samples=%d: %d of %d rows are read", table.name, wanted, wanted, count)
    return replace(table, chosen=np.sort(np.concatenate([np.tile(np.arange(count), whole), drawn])))
